"""SimGAN (Shrivastava et al., 2017): a refiner that makes simulated images look real."""
