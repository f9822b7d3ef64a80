"""One module a file format: read right, or refuse."""
