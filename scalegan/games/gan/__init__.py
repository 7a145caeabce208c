"""A generator against a discriminator, under any loss, with any penalties and tricks."""
