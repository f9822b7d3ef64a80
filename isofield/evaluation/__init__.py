"""What is compared with what: protocols, pairs, rows, tables."""
