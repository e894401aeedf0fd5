"""What programs and TT-NN's process both know of the project's own ops. It imports nothing: either side loads
it."""

CHUNK = 1024  # elements of a tile: whole rows of channels, as many as fit
PAST = 2  # frames that a convolution keeps
