"""The data sets that come with ganctl, one file each."""
