"""Faces in photos: found, aligned as CelebA's, and told apart."""
