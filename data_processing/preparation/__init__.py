"""From a folder of raw files to a store, stopped and continued anywhere."""
