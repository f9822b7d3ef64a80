"""IM-NET (Chen and Zhang, CVPR 2019): implicit-field autoencoder on voxels."""
