"""Metrics that come with ganctl, one idea a file."""
