"""Decoders written for 32 x 32 tiles, one hazard a file, one model family a file, and their streaming."""
