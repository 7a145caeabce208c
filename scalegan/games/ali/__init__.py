"""Adversarially learned inference (Dumoulin et al., 2017)."""
