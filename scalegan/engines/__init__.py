"""Runs a phase's update on one rank or many: micro-batches, precision, reduction, optimizers."""
