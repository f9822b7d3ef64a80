"""From a trained run to a pack: its files without the packer's machine, its card, and what rounding costs."""
