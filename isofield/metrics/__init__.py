"""Every formula once: distances, scores of sets, masks in millimetres. Knows no file and no protocol."""
