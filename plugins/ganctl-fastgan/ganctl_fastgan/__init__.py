"""FastGAN for ganctl (Liu et al. 2021, arXiv:2101.04775)."""
