"""What the commands do that need torch, one file a family."""
