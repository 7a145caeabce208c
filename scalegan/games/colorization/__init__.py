"""Colorization in CIE-LAB (Fabbri, 2017): pix2pix from lightness to colour."""
