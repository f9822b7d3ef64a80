"""Runs that travel: what a packed run holds, and every way to get at one: a folder, a zip, a hub of models."""
