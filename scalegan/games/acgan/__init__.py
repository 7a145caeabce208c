"""AC-GAN (Odena, Olah & Shlens, 2017): the discriminator also classifies."""
