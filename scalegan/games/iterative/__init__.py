"""The iterative GAN (Ma et al., 2018): recognises, generates, rebuilds and transforms faces."""
