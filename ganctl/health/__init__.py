"""Sicknesses of a training: what is seen of it, what it means, and what may help."""
