"""Label volumes: names, structures, masks, resampling, and the way back to the scan's grid."""
