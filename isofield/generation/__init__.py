"""One mesh after the other: of a split, of files, of samples, of walks."""
