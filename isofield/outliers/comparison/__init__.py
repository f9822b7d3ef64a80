"""A mask against its reconstruction on the grid of the scan: numbers, maps, pictures."""
