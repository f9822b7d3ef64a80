"""A field to a mesh, coarse to fine."""
