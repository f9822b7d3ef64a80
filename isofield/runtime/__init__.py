"""How any command of ours behaves: configuration, command line, atomic files, seeds, processes, ranks, journal."""
