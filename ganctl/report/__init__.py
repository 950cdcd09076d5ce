"""One page about one run or several, with everything in it: it opens from disk and needs no network. No torch."""
