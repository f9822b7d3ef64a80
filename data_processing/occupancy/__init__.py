"""Inside or outside of any triangle soup: scan conversion, winding number, flood fill."""
