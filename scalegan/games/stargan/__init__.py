"""StarGAN (Choi et al., 2018): one generator that gives images other attributes."""
