"""The architectures that come with ganctl, one file each."""
