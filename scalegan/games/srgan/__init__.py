"""SRGAN and SRResNet (Ledig et al., 2017): an image of two or four times the size."""
