"""The parts of `tools/gpu_check.py`, a module per group."""
