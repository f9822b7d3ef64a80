"""IF-Net (Chibane, Alldieck and Pons-Moll, CVPR 2020): implicit functions on a pyramid of feature volumes."""
