"""Meshes, voxel grids and coordinates as arrays: marching cubes, surface samples, rendering. Reads no files."""
