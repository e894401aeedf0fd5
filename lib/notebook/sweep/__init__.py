"""Batches of notebook runs: a grid of parameters, each run a process of its own on Dask, one table of all that was found."""
