"""Grids of notebooks, run side by side: `make sweep`."""
