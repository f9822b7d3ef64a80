"""Commands on full disks, in folders that vanish, told to end, beside another of their kind: see __main__.py."""
