"""The decoder in TT-NN's own ops: exact on the host, in steps as in one, and on simulated chips and mocked
boards."""

import math

import pytest
import torch
from diffusers import AutoencoderKLMochi
from needs import needs_ttnn, needs_ttsim
from torch import nn

from findings.native_parts import convolution, in_block_floats, parts
from ttvideo.basics.compare import compare
from ttvideo.basics.errors import Refused
from ttvideo.decoders.native import Arithmetic, NativeDecoder, Writer
from ttvideo.decoders.native_writer import STATE, ZEROS
from ttvideo.decoders.stream import Stream, stream_decode
from ttvideo.media.models import load_vae
from ttvideo.probing.verdict import MOCKED
from ttvideo.programs.conv3d_blocks import Blocks, Size, free_bytes, l1_bytes, shares
from ttvideo.programs.cost import cost, first_run_on_ttnn
from ttvideo.programs.evaluate import evaluate
from ttvideo.programs.hazards import hazards
from ttvideo.programs.own.sizes import PAST
from ttvideo.programs.seconds import expected_work
from ttvideo.programs.seconds.blocks import choose
from ttvideo.programs.seconds.work import conv3d_work, machine
from ttvideo.targets.boards import BOARDS
from ttvideo.targets.target import TARGETS
from ttvideo.ttnn.chip import Broke, Chip
from ttvideo.ttnn.handmade import deallocated, program

CHIPS = ("n150-ttsim", "p150-ttsim")
# Of a 480x848 step.
SIZES = ((1, 60, 106), 768), ((3, 120, 212), 512), ((6, 240, 424), 256), ((6, 480, 848), 128)


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).bfloat16()


@pytest.fixture(scope="module")
def vae():
    """The demo's, its weights rounded to bf16, in float64."""
    model = load_vae("demo").bfloat16().double()
    return model.requires_grad_(False)


@pytest.fixture(scope="module")
def native(vae):
    return NativeDecoder(vae)


def half(norm: nn.GroupNorm, conv: nn.Conv3d, x, past, board: str, arithmetic: Arithmetic = Arithmetic()):
    """Norm, SiLU and convolution of a clip [1, T, H, W, C], or of one that goes on: the program and its
    arguments."""
    writer = Writer(board, arithmetic, begins=past is None)
    value, writer.place = writer.argument("x", tuple(x.shape)), "half"
    y = writer.conv(writer.norm_silu(value, norm), conv.weight, conv.bias, padding=1)
    ((name, kept),) = writer.kept.items()
    given = {"x": x} | ({} if past is None else {STATE + name: past})
    return program(writer.arguments, writer.ops, [y, kept], writer.chip), writer.weights | given


def half_in_float64(norm, conv, x, past):
    new = nn.functional.silu(norm(x.double()[0].permute(0, 3, 1, 2))).permute(0, 2, 3, 1)
    clip = torch.cat([new[:1].expand(2, -1, -1, -1) if past is None else past.double()[0], new])
    padded = nn.functional.pad(clip.permute(3, 0, 1, 2)[None], (1, 1, 1, 1, 0, 0), mode="replicate")
    return nn.functional.conv3d(padded, conv.weight, conv.bias).permute(0, 2, 3, 4, 1), clip[None, -PAST:]


def layers(channels: int):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        norm, conv = nn.GroupNorm(32, channels), nn.Conv3d(channels, channels, 3)
        nn.init.normal_(norm.weight, 1, 0.2)
        nn.init.normal_(norm.bias, 0, 0.5)
    return [module.bfloat16().double().requires_grad_(False) for module in (norm, conv)]


@pytest.mark.parametrize(
    "channels, frames, goes_on", [(64, 3, False), (64, 3, True), (32, 1, True), (96, 2, True)]
)
def test_a_convolution_with_its_norm_is_exact_but_for_rounding(channels, frames, goes_on):
    norm, conv = layers(channels)
    x = numbers(1, frames, 6, 7, channels) * 2 + 1
    past = numbers(1, PAST, 6, 7, channels, seed=1) if goes_on else None
    made, arguments = half(norm, conv, x, past, "n150")
    for got, want in zip(evaluate(made, arguments), half_in_float64(norm, conv, x, past), strict=True):
        assert compare(got, want).pcc > 0.99999


@needs_ttsim
@pytest.mark.parametrize("target", CHIPS)
def test_a_convolution_in_two_blocks_rounds_once(target):
    with Chip(TARGETS[target]) as chip:
        for c_in, low, high in ((64, 1.2, 1.5), (32, 1, 1.05)):
            part = convolution(64, c_in)
            x = numbers(1, part.channels, 3, 6, 6)
            got, exact = part.on(chip, x).double(), part.in_torch(x.double())
            error = (got - exact).square().mean() / (exact.bfloat16() - exact).square().mean()
            assert low < error.sqrt() < high, c_in


@needs_ttsim
@pytest.mark.parametrize("target", CHIPS)
def test_a_frame_is_the_same_whatever_comes_with_it(target):
    """Four frames at once are done in other blocks of pixels than one, of as many input channels."""
    with Chip(TARGETS[target]) as chip:
        for channels in (32, 96):  # one block of input channels, and three
            part, x = convolution(channels, 32), numbers(1, channels, 6, 6, 6)
            alone, board = [x[:, :, i : i + 3] for i in range(4)], TARGETS[target].board.name
            (conv,), (other,) = (part.program(clip, board)[0].main.ops for clip in (x, alone[0]))
            assert conv.attributes["conv3d_config"] != other.attributes["conv3d_config"]
            assert torch.equal(part.on(chip, x), torch.cat([part.on(chip, clip) for clip in alone], 2))


def test_the_evaluator_leaves_out_what_a_fidelity_does():
    norm, conv = layers(64)
    x, far = numbers(1, 2, 6, 7, 64), {}
    want = half_in_float64(norm, conv, x, None)[0]
    for fidelity in ("hifi4", "hifi3", "hifi2"):
        made, arguments = half(norm, conv, x, None, "n150", Arithmetic(fidelity))
        far[fidelity] = 1 - compare(evaluate(made, arguments)[0], want).pcc
    # Which of the first two is nearer hangs on the numbers: HiFi3 leaves out less than bf16 rounds off.
    assert far["hifi3"] != far["hifi4"] and 0.9 < far["hifi3"] / far["hifi4"] < 1.1
    assert 1.1 * far["hifi4"] < far["hifi2"] < 1e-3


NORMS = {
    "GroupNorm": lambda writer, x: writer.norm_silu(x, layers(64)[0]),
    "of channels": lambda writer, x: writer.rms_norm(x, torch.ones(64), torch.zeros(64), 1e-6, ZEROS),
}
MADE = {
    "add": lambda writer, a, b: writer.add(a, b),
    "depth_to_space": lambda writer, a, b: writer.depth_to_space(writer.concat([a, b], 4), (1, 2, 1)),
}


@pytest.mark.parametrize("made", MADE)
@pytest.mark.parametrize("norm", NORMS)
def test_what_a_norm_is_the_first_to_read_it_makes_on_its_way(norm, made):
    """The same numbers, which are read once less, nor written where nothing else reads them; whatever else is
    the first has them made before."""
    clips, found, moved = {"a": numbers(1, 2, 6, 7, 64), "b": numbers(1, 2, 6, 7, 64, seed=1)}, [], []
    for first, last in (("norm", "clip"), ("clip", "clip"), ("norm", "norm")):
        writer = Writer("n150", Arithmetic())
        x = MADE[made](writer, *(writer.argument(name, clips[name].shape) for name in clips))
        writer.place = "norm"
        if first == "clip":
            writer.catch_up([x])
        returns = [NORMS[norm](writer, x)] + [x] * (last == "clip")
        whole = program(writer.arguments, writer.written(returns), returns, writer.chip)
        assert sum(one.name.endswith(f".{made}") for one in whole.main.ops) == (first == "clip")
        found.append(evaluate(whole, writer.weights | clips))
        moved.append(cost(whole).dram_bytes_moved // x.type.stored_bytes)
    assert all(map(torch.equal, found[0], found[1])) and torch.equal(found[0][0], found[2][0])
    assert [n - moved[0] for n in moved] == [0, 1, -(norm == "of channels")]


@pytest.mark.parametrize("board", ["n150", "p150"])
def test_each_kind_of_block_is_exact_but_for_rounding(vae, board):
    kinds = parts(vae.decoder)
    assert len(kinds) == 6
    for name, part in kinds.items():
        x = numbers(1, part.channels, 2, 4, 5)
        (rows,) = evaluate(*part.program(x, board))
        got = rows.movedim(-1, 1)[:, : part.out_channels]
        assert compare(got, part.in_torch(x.double())).pcc > 0.9999, name


@needs_ttnn
@pytest.mark.parametrize(
    "where, said", [("weights", "got DataType::BFLOAT8_B"), ("activations", "must be row-major")]
)
def test_a_convolution_takes_no_block_floats(where, said):
    with Chip(TARGETS["n150-ttnn"]) as chip, pytest.raises(Broke, match=said):
        chip.run(*in_block_floats(where, "n150"))


def test_what_is_not_wanted_any_more_is_let_go(native):
    made = native.step((1, 4, 5), False, "p150").program
    freed = [op.operands[0] for op in made.main.ops if op.name == "ttnn.deallocate"]
    made_here = {value for op in made.main.ops for value in op.results}
    states = {a.value for a in made.arguments if a.kind == "input" and a.name != "input.z"}
    assert len(freed) == len(set(freed)) and set(freed) == (made_here | states) - set(made.main.returns)
    assert deallocated([], set()) == []


@pytest.mark.parametrize(
    "does, need",
    [
        (lambda native: choose(Size((1, 4, 4), 48, 48, (3, 3, 3), (0, 1, 1)), "n150"), "48"),
        (lambda native: Arithmetic("hifi5"), "hifi5"),
        (lambda native: native.step((1, 4, 5), True, "n900"), "n900"),
        (lambda native: Stream(native, "n150-ttsim@hifi2"), "hifi3 on target 'n150-ttsim@hifi2'"),
        *((lambda native, target=target: Stream(native, target), "n150-ttsim")
          for target in ("cpu", "p150-compile", "p150-mock")),
    ],
)  # fmt: skip
def test_what_it_cannot_take_is_refused(native, does, need):
    with pytest.raises(Refused, match=need):
        does(native)


@pytest.mark.parametrize("board", ["n150", "p150"])
def test_blocks_fit_and_are_expected_much_sooner_than_those_tried_first(board):
    chip = BOARDS[board].chip
    on = machine(chip)
    for out, channels in SIZES:
        size = Size(out, channels, channels, (3, 3, 3), (0, 1, 1))
        blocks = choose(size, board)
        assert l1_bytes(size, blocks) <= free_bytes(chip) and blocks.c_in < channels
        assert math.prod(cores for _, cores in shares(size, blocks, chip)) <= math.prod(chip.grid_yx)
        time = lambda blocks: expected_work(conv3d_work(size, blocks, on, "hifi3")).us
        assert time(blocks) < 0.6 * time(Blocks(1, 4, 8, 32, 128))


@pytest.mark.parametrize("channels", [32, 160, 768])
def test_blocks_are_of_whole_tiles(channels):
    blocks = choose(Size((1, 6, 7), channels, channels, (3, 3, 3), (0, 1, 1)), "n150")
    assert blocks.c_in % 32 == 0 and channels % blocks.c_in == 0


@pytest.mark.parametrize("board", ["n150", "p150"])
def test_a_full_size_step_costs_what_was_aimed_for_and_meets_no_hazard(board):
    with torch.device("meta"):
        vae = AutoencoderKLMochi()  # of full size, without weights
    in_ones, by_default, four = (
        NativeDecoder(vae, arithmetic=arithmetic).step((latent_frames, 60, 106), False, board).program
        for latent_frames, arithmetic in ((1, Arithmetic()), (2, Arithmetic()), (2, Arithmetic("hifi4")))
    )
    assert not hazards(in_ones) and not hazards(by_default)
    one, two = cost(in_ones), cost(by_default)
    assert one.dram_bytes_moved < 68e9 and len(one.ops) == len(two.ops) < 170
    assert two.dram_bytes_moved < 2 * {"n150": 61e9, "p150": 58e9}[board]
    assert first_run_on_ttnn(by_default, inputs_stay=False) < 8e9
    assert {hazard.name for hazard in hazards(four)} == ({"wormhole products"} if board == "n150" else set())


@needs_ttnn
def test_a_mocked_board_takes_every_step(native):
    z = numbers(1, 12, 5, 4, 4)
    first, *others = stream_decode(native, z, "n150-ttnn", evaluate=1)
    assert first.verdict.stages["run"] == MOCKED and first.verdict.ran.ops == len(first.verdict.cost.ops)
    want = native.evaluate(z[:, :, :1], None, "n150")[0][:, :, native.dropped_frames :]
    assert torch.equal(first.frames, want)
    assert all(step.verdict.passed and step.frames is None for step in others) and len(others) == 2
    peaks = [step.verdict.ran.peak_dram_bytes for step in others]
    assert peaks[0] == peaks[1]  # memory doesn't grow with the clip
    assert peaks[0] <= others[0].verdict.cost.peak_dram_bytes
