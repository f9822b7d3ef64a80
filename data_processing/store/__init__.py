"""The prepared data set on disk: shards, index, splits, published HDF5."""
