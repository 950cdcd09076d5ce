"""From image files to batches: decode once, pack into one mapped array, gather batches from it."""
