"""What the operators of a server see of it."""
