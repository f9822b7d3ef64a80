"""From raw files (meshes, voxels, NIfTI masks) to a point-sampled data set and batches on the device.

Knows no model.
"""
