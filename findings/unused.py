"""What findings lead to and don't come to: what is another model's in the tables of decoders, a run that goes
on, TT-NN in what is only compiled, and what a program costs, or its seconds, in rows that don't say it."""

from findings.inputs import place_of
from ttvideo.decoders import families
from ttvideo.decoders.native import IN_OPS, NativeDecoder, native
from ttvideo.decoders.steps import load_state
from ttvideo.probing.on_ttnn import OnTTNN
from ttvideo.programs.cost import cost
from ttvideo.programs.seconds import expected_program
from ttvideo.ttnn.chip import Ran

RESUMED = frozenset({place_of(load_state)})  # no part goes on where another run stopped
ON_TTNN = frozenset({place_of(OnTTNN), place_of(Ran)})
SECONDS = {place_of(expected_program)}
COSTS = SECONDS | {place_of(cost)}
NATIVE = {place_of(native), place_of(NativeDecoder), "ttvideo/decoders/native.py:IN_OPS"}


def no_seconds(key) -> set[str]:
    """The `unused` of a finding whose rows say nothing of expected seconds."""
    return SECONDS


def other_families(*autoencoders: str) -> set[str]:
    """Where the decoders of other families than these classes of diffusers' are defined, for tiles and in
    TT-NN's ops."""
    mine = {one for kind, one in families.FAMILIES.items() if kind.__name__ in autoencoders}
    return decoders(families.REWRITES) - decoders(mine)


def decoders(rewrites) -> set[str]:
    tiles = {one.tiles for one in rewrites}
    return {place_of(kind) for kind in tiles | {IN_OPS[kind] for kind in tiles & IN_OPS.keys()}}
