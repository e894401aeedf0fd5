"""Each family's decoder in TT-NN's own ops: exact on the host, in steps as in one, known to all that reads
programs."""

from copy import deepcopy
from dataclasses import replace

import diffusers
import pytest
import torch
from needs import needs_ttsim
from seeded import seeded
from test_silicon_every_op import ops_known_to_the_host
from torch import nn

from lib.stored import stored
from ttvideo import native
from ttvideo.basics.compare import compare
from ttvideo.basics.errors import Refused
from ttvideo.decoders.native import NativeDecoder
from ttvideo.decoders.stream import stream_decode
from ttvideo.media.frames import to_uint8
from ttvideo.media.small_autoencoders import SMALL, SMALL_IMAGES
from ttvideo.media.video_models import MODELS
from ttvideo.programs.cost import FREE, cost, first_run_on_ttnn, flops
from ttvideo.programs.evaluate import evaluate, knows
from ttvideo.programs.own import frames as own_frames
from ttvideo.programs.program import Program
from ttvideo.programs.reshape import is_view
from ttvideo.programs.seconds import expected
from ttvideo.programs.seconds.ops import COSTED_AS_PRODUCTS
from ttvideo.targets.boards import BOARDS
from ttvideo.targets.target import TARGETS
from ttvideo.ttnn.handmade import op, program, tensor

IMAGES = ("Stable Diffusion", "FLUX", "FLUX.2", "HunyuanImage", "Tiny")
VIDEOS = "Mochi", "Wan 2.1", "Wan 2.2", "QwenImage", "CogVideoX", "HunyuanVideo", "HunyuanVideo-1.5"
LATE = "LTX-Video", "LTX-2"
NAMES = *VIDEOS, *LATE, *IMAGES
# A clip's; of others three.
LATENTS = {"CogVideoX": 5, "HunyuanVideo": 9, "LTX-Video": 12, "LTX-2": 9} | dict.fromkeys(IMAGES, 2)
# With a shortcut to other channels, as what is published has; as that looks ahead.
CONFIGS = {
    "Wan 2.2": dict(dim_mult=[1, 1, 2, 2], temperal_downsample=[False, False, True]),
    "LTX-Video": dict(decoder_block_out_channels=(8, 16)),
    "LTX-2": dict(decoder_causal=False),
}


def small(name: str, config: dict | None = None) -> nn.Module:
    stock = (SMALL | SMALL_IMAGES)[name]
    stock = replace(stock, config=stock.config | (CONFIGS.get(name, {}) if config is None else config))
    return stock.make().bfloat16().double().requires_grad_(False)


def latents(decoder: NativeDecoder, frames: int, height: int = 4, width: int = 5) -> torch.Tensor:
    return seeded(1, decoder.latent_channels, frames, height, width, dtype=torch.bfloat16)


@pytest.fixture(scope="module", params=NAMES)
def family(request):
    """Its name, the autoencoder in float64, and the same in TT-NN's ops."""
    vae = small(request.param)
    return request.param, vae, native(vae)


@pytest.fixture(scope="module")
def wan():
    return native(small("Wan 2.1"))


def as_close_as_torchs(
    name: str, vae: nn.Module, z: torch.Tensor, got: torch.Tensor, want: torch.Tensor
) -> bool:
    """Whether frames lack at most twice as much of correlation with float64 as torch's own in bf16 do."""
    in_bf16 = (SMALL | SMALL_IMAGES)[name].decode(deepcopy(vae).bfloat16(), z)
    return 1 - compare(got, want).pcc < 2 * (1 - compare(in_bf16, want).pcc)


def test_frames_are_the_autoencoders_and_steps_give_what_one_call_gives(family):
    name, vae, decoder = family
    z = latents(decoder, LATENTS.get(name, 3))
    whole, end = decoder(z)
    want = (SMALL | SMALL_IMAGES)[name].decode(vae, z.double())
    assert as_close_as_torchs(name, vae, z, whole[:, :, decoder.dropped_frames :], want)
    (*pieces, last), state, frames = z.split(decoder.steps(z.shape[2]), 2), None, []
    for piece in pieces:
        step, state = decoder(piece, state, ends=False)
        frames.append(step)
    seen = z.shape[2] - last.shape[2]
    assert {key: value.shape for key, value in state.items()} == decoder.state_shapes(1, 4, 5, seen)
    step, state = decoder(last, state)
    frames.append(step)
    # Of Mochi's clip as a whole, torch adds up in another order.
    assert torch.equal(torch.cat(frames, 2), whole) or name == "Mochi"
    assert state.keys() == end.keys()
    if name in IMAGES:  # a batch of them is a clip
        images, state = decoder(z[0].transpose(0, 1))
        assert torch.equal(images.transpose(0, 1)[None], whole) and state == {}


def test_a_clip_that_is_normalised_as_one_is_taken_whole():
    vae = small("HunyuanVideo")
    vae.use_framewise_decoding = False
    decoder = native(vae)
    z = latents(decoder, 5)
    whole, state = decoder(z)
    assert as_close_as_torchs("HunyuanVideo", vae, z, whole, vae.decode(z.double()).sample) and state == {}
    for state, ends in (({}, True), (None, False)):
        with pytest.raises(Refused, match="all of it at once"):
            decoder(z, state, ends=ends)


@pytest.mark.parametrize("name", LATE)
def test_a_timestep_is_heeded(name):
    vae = small(name, dict(timestep_conditioning=True, decoder_causal=True))
    decoder = native(vae)
    z, timestep = latents(decoder, 2), torch.tensor([0.05]).bfloat16()
    want = vae.decode(z.double(), timestep.double()).sample
    assert compare(decoder(z, temb=timestep)[0], want).pcc > 0.9999
    with pytest.raises(Refused, match="temb"):
        decoder(z)
    decoder.temb = torch.tensor([0.5])
    assert compare(decoder(z)[0], want).pcc < 0.999


def test_frames_that_come_late_come_so_from_a_chip():
    """Its state stays there, growing; with the clip's end it is gone, and another clip may begin."""
    decoder = native(small("LTX-2"))
    z = latents(decoder, decoder.family.delay + 2)
    programs = decoder.programs(TARGETS["p150-ttnn"], stateful=True)
    for _ in range(2):
        entries, frames = [], []
        for number, piece in enumerate(z.split(1, 2), start=1):
            begins = {"state": None} if number == 1 else {}
            verdict = programs.run((piece,), begins | {"ends": number == z.shape[2]}, "", None)
            video, state = verdict.results
            shape = verdict.program.main.returns[video].type.shape if isinstance(video, int) else (0,)
            frames, entries = [*frames, shape[0]], [*entries, len(state)]
        assert frames == [0] * decoder.family.delay + [4, 8 * 4 + 1 - 4]
        assert entries == [*sorted(entries[:-1]), 0]


def test_pieces_as_small_as_can_be_change_nothing(monkeypatch):
    decoder = native(small("HunyuanVideo"))
    z = latents(decoder, 6, 3, 4)
    whole = decoder(z)[0]
    monkeypatch.setattr("ttvideo.decoders.native_hunyuan.ROOM", 0)
    decoder.written.clear()
    assert torch.equal(decoder(z)[0], whole)


def unknown(made: Program) -> set[str]:
    """What of a program the evaluator, TT-NN's process, the costs or the expected seconds don't know."""
    ops = [op for op in made.main.ops if op.name not in FREE]
    lost = knows(made) | {op.name for op in ops} - ops_known_to_the_host()
    lost |= {op.name for op in ops if not is_view(op) and expected(op, made.chip).us <= 0}
    lost |= {op.name for op in ops if flops(op) and op.name not in COSTED_AS_PRODUCTS}
    moved = {one.name for one in cost(made).ops if one.moved}
    return lost | {op.name for op in ops if not is_view(op)} - moved


def test_nothing_in_a_program_is_unknown(family):
    name, _, decoder = family
    first, *_, last = decoder.steps(LATENTS.get(name, 3))
    for size, begins in (((first, 4, 5), True), ((last, 4, 5), False)):
        assert not unknown(decoder.step(size, begins, "n150", ends=not begins).program)


@pytest.mark.parametrize(
    "name, share, board",
    [
        ("Mochi", 0.29, "n150"),
        ("Wan 2.1", 0.43, "n150"),
        ("Wan 2.2", 0.58, "n150"),
        ("HunyuanVideo", 0.45, "n150"),
        ("HunyuanVideo-1.5", 0.35, "n150"),
        ("LTX-2", 0.36, "p150"),
    ],
)
def test_a_full_size_step_costs_what_was_aimed_for(name, share, board):
    """A share of the compiled program's bytes a latent frame, a tenth of its ops. Of a state that grows, a
    clip's last."""
    model = MODELS[name]
    with torch.device("meta"):
        decoder = native(getattr(diffusers, model.autoencoder)(**model.config))
    count, steady = model.latents[2], decoder.steps(model.latents[2])[1]
    seen = count - steady if decoder.streaming == "state grows" else None
    made = decoder.step((steady, *model.latents[3:]), False, board, seen).program
    rows = {(row["model"], row["board"], row["case"]): row for row in stored("video_vaes")["rows"]}
    found, compiled = cost(made), rows[name, board, "compiled"]
    assert found.dram_bytes_moved / steady < share * compiled["dram_bytes_moved"] / compiled["latent_frames"]
    assert len(found.ops) < 0.15 * compiled["ops"]
    room = 0.97 * BOARDS[board].chip.dram_bytes if name == "HunyuanVideo" else 8e9
    assert first_run_on_ttnn(made, inputs_stay=False) < room


def test_in_8_bits_frames_are_those_that_postprocess_makes(wan):
    z = latents(wan, 2)
    small_frames = NativeDecoder(small("Wan 2.1"), eight_bits=True)(z)[0]
    assert small_frames.dtype == torch.float32
    assert (to_uint8(small_frames) == to_uint8(wan(z)[0])).all()


def test_a_line_that_is_not_finite_is_no_picture():
    x, y = tensor("x", (1, 1, 2, 3, 32), layout="row_major"), tensor("y", (1, 2, 10), "u8", "row_major")
    made = program([x], [op("generic_op.frames", [x], y, patch=1, clamped=True)])
    values = torch.zeros(1, 1, 2, 3, 32)
    values[0, 0, 1, 2, 0] = torch.nan
    video = own_frames.video(evaluate(made, {"x": values})[0])
    assert video[..., 0, :].isfinite().all() and video[..., 1, :].isnan().all()


def changed(name: str, path: str, value) -> nn.Module:
    vae = small(name)
    part, _, attribute = path.rpartition(".")
    setattr(vae.get_submodule(part), attribute, value)
    return vae


def wide() -> nn.Module:
    with torch.device("meta"):
        return diffusers.AutoencoderKLWan(**SMALL["Wan 2.1"].config | {"base_dim": 1056, "dim_mult": [1, 1]})


def spoilt() -> nn.Module:
    vae = small("QwenImage")
    vae.decoder.conv_in.weight.data[0, 0, 0, 0, 0] = torch.nan
    return vae


def called(name: str, frames: int, state=None, **sizes) -> None:
    """`state` is given, or that after so many latent frames."""
    decoder = native(small(name))
    state = decoder(latents(decoder, state))[1] if isinstance(state, int) else state
    decoder(latents(decoder, frames, **sizes), state, ends=False)


def part_of_a_frame(decoder: NativeDecoder) -> None:
    z = latents(decoder, 1)
    decoder(z, {name: value[:, :, :-1] if "keys" in name else value for name, value in decoder(z)[1].items()})


BAD = {
    "class": ("native: got Linear", lambda wan, z: native(nn.Linear(2, 2))),
    "family": ("need for_tiles, or a decoder", lambda wan, z: native(SMALL["Cosmos"].make())),
    "config": ("activation", lambda wan, z: native(changed("Wan 2.1", "decoder.nonlinearity", nn.ReLU()))),
    "weights": ("finite", lambda wan, z: native(spoilt())),
    "noise": ("inject_noise", lambda wan, z: native(small("LTX-Video", NOISE))),
    "channels": ("at most 1024", lambda wan, z: native(wide()).step((1, 4, 5), True, "n150")),
    "clips": ("one at a time", lambda wan, z: wan(z.expand(2, -1, -1, -1, -1))),
    "dtype": ("bfloat16", lambda wan, z: wan(z.float())),
    "size": ("state", lambda wan, z: wan(z, wan(z.mT.contiguous())[1])),
    "state": ("state", lambda wan, z: wan(z, {"block_in.resnets.0.conv1.4x5.past": z})),
    "part of a frame": ("keys", lambda wan, z: part_of_a_frame(native(small("HunyuanVideo-1.5")))),
    "odd step": ("multiple of 2", lambda wan, z: called("CogVideoX", 1, 2)),
    "a step too short": ("5, or more by a multiple of 3", lambda wan, z: called("HunyuanVideo", 4)),
    "ended": ("has ended", lambda wan, z: called("LTX-2", 1, {})),
    "narrow": ("at least 2 x 2", lambda wan, z: called("LTX-2", 1, width=1)),
}
NOISE = dict(decoder_inject_noise=(True, False, False))


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_refused(wan, what):
    said, does = BAD[what]
    with pytest.raises(Refused, match=said):
        does(wan, latents(wan, 1))


def test_steps_of_several_latent_frames_take_them_as_one_piece(wan):
    """What a chip's session sends: the state is there already, and not given again."""
    z = latents(wan, 2)
    programs = wan.programs(TARGETS["n150-ttnn"], stateful=True)
    for begins, names in ((True, {"input.z", "input.z.1"}), (False, {"input.z"})):
        programs.run((z,), {}, "", None)
        assert programs.begins == begins
        sent = programs.arguments((z,), {})
        assert {name for name in sent if name.startswith("input.z")} == names
        wanted = {a.name: a.type.shape for a in programs.written.program.arguments}
        assert all(tuple(sent[name].shape) == wanted[name] for name in names)


def test_a_session_knows_how_many_latent_frames_were_seen():
    """By what the step before has left, or by a state that is given."""
    growing = native(small("HunyuanVideo-1.5"))
    programs = growing.programs(TARGETS["n150-ttnn"], stateful=True)

    def seen(frames: int, **keywords) -> int:
        programs.run((latents(growing, frames),), keywords, "", None)
        sizes = {a.name: a.type.shape for a in programs.written.program.arguments}
        return sizes.get("input.state.mid_block.attentions.0.4x5.keys", (1, 1, 0, 0))[2] // 20

    assert [seen(n) for n in (2, 1, 3, 1)] == [0, 2, 3, 6] and seen(1, state=None) == 0
    given = {name: torch.zeros(shape).bfloat16() for name, shape in growing.state_shapes(1, 4, 5, 9).items()}
    assert seen(1, state=given) == 9 and seen(1) == 10


@needs_ttsim
@pytest.mark.long
@pytest.mark.parametrize(
    "name, board",
    [("Wan 2.1", "n150"), ("HunyuanVideo-1.5", "n150"), ("LTX-Video", "n150"), ("Tiny", "n150")]
    + [("FLUX", "p150"), ("CogVideoX", "p150")],
)
def test_steps_on_a_simulated_chip(name, board):
    vae = small(name)
    decoder = native(vae)
    frames = 4 if name == "CogVideoX" else LATENTS.get(name, 3)  # two steps, of two
    z = latents(decoder, frames, 2, 2)
    together = LATENTS[name] // 2 if name in LATE else None  # each step of its own has kernels to be built
    steps = stream_decode(decoder, z, f"{board}-ttsim", together)
    got = torch.cat([step.frames for step in steps], 2)
    want = (SMALL | SMALL_IMAGES)[name].decode(vae, z.double())
    assert compare(got, want).pcc > 0.9999
