"""Small helpers that know nothing of GANs: files, processes, signals, arguments, names."""
