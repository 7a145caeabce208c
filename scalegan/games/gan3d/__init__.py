"""3D-GAN (Wu et al., 2016): shapes as voxels."""
