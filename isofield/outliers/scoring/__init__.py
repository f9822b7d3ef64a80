"""From a mask to its calibrated score under a prior."""
