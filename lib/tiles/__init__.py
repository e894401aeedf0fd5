"""The Mochi decoder written for 32 x 32 tiles, one hazard a file."""
