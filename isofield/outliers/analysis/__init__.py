"""A folder of scans to a table of rows."""
