"""From raw files (meshes, voxels, NIfTI masks) to a point-sampled data set and batches on the device.

Knows no model.
"""

import isofield.runtime.thread_waiting  # noqa: F401 (sets the environment that torch reads when it is loaded)
