"""The story of each command, from its arguments to its exit status."""
