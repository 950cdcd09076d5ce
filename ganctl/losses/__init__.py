"""The losses that come with ganctl, one file each."""
