"""Where the numbers and pictures of a training go, beside TensorBoard: one small protocol, an adapter in each file."""
