"""The study of the iterative GAN on faces, repeated (Ma et al., 2018, section 5)."""
