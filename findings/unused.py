"""What is in the tables of decoders and isn't one model's: no part about that model depends on it."""

from findings.inputs import place_of
from ttvideo.decoders import families
from ttvideo.decoders.native import IN_OPS, NativeDecoder, native

NATIVE = {place_of(native), place_of(NativeDecoder), "ttvideo/decoders/native.py:IN_OPS"}


def other_families(*autoencoders: str) -> set[str]:
    """Where the decoders of other families than these classes of diffusers' are defined, for tiles and in
    TT-NN's ops."""
    mine = {one for kind, one in families.FAMILIES.items() if kind.__name__ in autoencoders}
    return decoders(families.REWRITES) - decoders(mine)


def decoders(rewrites) -> set[str]:
    tiles = {one.tiles for one in rewrites}
    return {place_of(kind) for kind in tiles | {IN_OPS[kind] for kind in tiles & IN_OPS.keys()}}
