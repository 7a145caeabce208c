"""CycleGAN (Zhu et al., 2017): translation between two sets of images without pairs."""
