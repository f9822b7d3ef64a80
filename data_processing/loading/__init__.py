"""From the store to batches on the device: what the network sees, and augmentation."""
