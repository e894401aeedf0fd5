"""The compiled program: read, costed, run on the host."""
