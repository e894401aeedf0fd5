"""`ttvideo decode`: the video and the verdicts without a notebook, its exit codes, Ctrl-C and going on."""

from dataclasses import replace

import imageio.v3 as imageio
import pytest
import torch

from ttvideo import command, compare
from ttvideo.decoders import strategy
from ttvideo.decoders.mochi import TileDecoder
from ttvideo.decoders.stream import DROPPED_FRAMES
from ttvideo.media.frames import FrameFolder, to_uint8, video_file
from ttvideo.media.latents import colours_of, load_latents
from ttvideo.media.models import load_vae
from ttvideo.media.small_autoencoders import SMALL as SMALL_AUTOENCODERS

pytestmark = pytest.mark.usefixtures("clean_after")
SMALL = ["random", "--model", "small", "--latent-frames", "3", "--latent-height", "4", "--latent-width", "4"]


def frames_in(video):
    return imageio.imread(video, plugin="FFMPEG")


def test_on_a_target_with_results_the_video_is_the_targets(tmp_path, capsys):
    out = tmp_path / "video.mp4"
    assert command.main(["decode", *SMALL, "--target", "cpu", "--dtype", "float32", "--out", str(out)]) == 0
    assert frames_in(out).shape == (13, 32, 32, 3)
    assert "13 frames of cpu" in capsys.readouterr().out


def test_on_a_lane_without_results_the_video_is_the_hosts_and_says_so(tmp_path, capsys):
    out = tmp_path / "video.mp4"
    more = ["--target", "p150-compile", "--host-frames", "2", "--evaluated-frames", "1"]
    assert command.main(["decode", *SMALL, *more, "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "2 of 3 latent frames, decoded on the host" in said and said.count("✓ TTNN") == 3
    assert said.count("evaluated on the host: PCC 0.99") == 1
    assert len(frames_in(out)) == 7


def test_another_family_is_decoded_where_the_target_has_results(tmp_path, capsys):
    SMALL_AUTOENCODERS["Wan 2.1"].make().float().save_pretrained(tmp_path / "wan")
    size = [
        "--latent-frames",
        "3",
        "--latent-height",
        "4",
        "--latent-width",
        "4",
        "--out",
        str(tmp_path / "video.mp4"),
    ]
    wan = ["decode", "random", "--model", str(tmp_path / "wan"), *size]
    assert command.main([*wan, "--target", "cpu"]) == 0
    assert "5 frames of cpu" in capsys.readouterr().out and len(frames_in(tmp_path / "video.mp4")) == 5
    assert command.main([*wan, "--target", "p150-compile"]) == 0
    said = capsys.readouterr().out
    assert said.count("✓ TTNN") == 3 and "no video: p150-compile has no results" in said


def saved(tmp_path, name, **config):
    """A small autoencoder in a folder, another by its config; its name for the command."""
    small = SMALL_AUTOENCODERS[name]
    replace(small, config=small.config | config).make().float().save_pretrained(tmp_path / "vae")
    return ["--model", str(tmp_path / "vae"), "--target", "cpu", "--out", str(tmp_path / "video.mp4")]


def test_an_ltx_that_wants_a_timestep_has_it_from_the_command(tmp_path, capsys):
    size = ["--latent-frames", "2", "--latent-height", "2", "--latent-width", "2"]
    ltx = ["decode", "random", *size, *saved(tmp_path, "LTX-Video", timestep_conditioning=True)]
    assert (
        command.main(ltx) == 2 and "--timestep: got None, need a decode_timestep" in capsys.readouterr().err
    )
    assert command.main([*ltx, "--timestep", "0.05"]) == 0 and "frames of cpu" in capsys.readouterr().out
    wan = ["decode", "random", "--model", "wan-demo", *size, "--timestep", "0.05", "--target", "cpu"]
    assert command.main([*wan, "--out", str(tmp_path / "no.mp4")]) == 2
    assert "isn't conditioned on one" in capsys.readouterr().err


def test_an_image_of_qwen_is_decoded_as_its_pipeline_gives_it(tmp_path, capsys):
    qwen = saved(tmp_path, "QwenImage")
    torch.save(torch.randn(1, 2 * 3, 4 * 2 * 2), tmp_path / "z.pt")  # tokens of 2 x 2 latents
    size = ["--latent-frames", "1", "--latent-height", "4", "--latent-width", "6"]
    assert command.main(["decode", str(tmp_path / "z.pt"), *qwen, *size]) == 0
    assert "1 frames of cpu" in capsys.readouterr().out
    assert frames_in(tmp_path / "video.mp4").shape == (1, 8, 12, 3)


@pytest.mark.parametrize(
    "name, config, channels",
    [
        ("Wan 2.1", {"out_channels": 12}, 12),
        ("QwenImage", {"input_channels": 4}, 4),
        ("CogVideoX", {"out_channels": 4}, 4),
    ],
)
def test_frames_of_more_than_three_channels_are_refused_before_the_first_step(
    tmp_path, capsys, name, config, channels
):
    model = saved(tmp_path, name, **config)
    assert command.main(["decode", "random", *model]) == 2
    assert f"frames have {channels} channels, need 3" in capsys.readouterr().err
    assert colours_of(SMALL_AUTOENCODERS["Wan 2.2"].make()) == 3  # 12, in patches of 2 x 2


def test_a_step_that_fails_is_exit_code_1(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(strategy, "HostDecoder", lambda decoder: Fails(decoder))
    assert command.main(["decode", *SMALL, "--target", "cpu", "--out", str(tmp_path / "video.mp4")]) == 1
    assert "no such thing" in capsys.readouterr().out


class Fails(TileDecoder):
    def forward(self, z, state=None, ends=True):
        raise RuntimeError("no such thing")


@pytest.mark.parametrize(
    "wrong",
    [
        ["missing.pt"],
        ["clip", "--fps", "0"],
        ["clip", "--out", "video.avi"],
        ["clip", "--host-frames", "99"],
        ["clip", "--strategy", "native"],
    ],
    ids=["latents", "fps", "out", "host_frames", "strategy"],
)
def test_what_cannot_be_used_is_exit_code_2_and_one_sentence(tmp_path, monkeypatch, capsys, wrong):
    monkeypatch.chdir(tmp_path)
    assert command.main(["decode", *wrong, "--target", "p150-compile"]) == 2
    assert capsys.readouterr().err.startswith("ttvideo: ") and not list(tmp_path.glob("*.mp4"))


def test_ctrl_c_keeps_what_is_done_and_the_same_command_goes_on(tmp_path, monkeypatch, capsys):
    out, keep = tmp_path / "video.mp4", tmp_path / "keep"
    again = [
        "decode",
        *SMALL,
        "--target",
        "cpu",
        "--dtype",
        "float32",
        "--out",
        str(out),
        "--keep",
        str(keep),
    ]
    original = command.stream_decode

    def interrupted(*arguments, **options):
        for step in original(*arguments, **options):
            yield step
            if step.number == 1:
                raise KeyboardInterrupt

    monkeypatch.setattr(command, "stream_decode", interrupted)
    assert command.main(again) == 130
    assert "interrupted after 2 steps; the same command goes on" in capsys.readouterr().err
    assert len(frames_in(out)) == 7, "what was decoded is a video that plays"
    monkeypatch.setattr(command, "stream_decode", original)
    assert command.main(again) == 0
    said = capsys.readouterr().out
    assert said.count("on kept") == 2 and said.count("on cpu") == 1
    vae = load_vae("small")
    with torch.no_grad():
        want = vae.decoder(load_latents("random", vae, (1, 12, 3, 4, 4)))[0][:, :, DROPPED_FRAMES:]
    got = torch.from_numpy(frames_in(out)).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
    assert compare(got, want.clamp(-1, 1)).psnr_db > 20, "H.264 of noise is not exact"


def test_help_names_every_option_and_exit_code(capsys):
    with pytest.raises(SystemExit) as ended:
        command.main(["decode", "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    for option in ("--model", "--target", "--keep", "--host-frames", "130 interrupted"):
        assert option in said


def test_a_video_file_is_written_piece_by_piece(tmp_path):
    clip = torch.linspace(-1, 1, 10).view(1, 1, 10, 1, 1).expand(1, 3, 10, 16, 16)
    with pytest.raises(RuntimeError), video_file(tmp_path / "v.mp4") as write:
        write(clip[:, :, :4])
        raise RuntimeError
    assert len(frames_in(tmp_path / "v.mp4")) == 4
    frames = FrameFolder(tmp_path / "frames")
    frames.add(clip[:, :, :4])
    frames.add(clip[:, :, 4:])
    assert len(frames) == 10 and torch.equal(frames.read(2, 7), clip[:, :, 2:7])
    assert to_uint8(frames.read(0, 10)).shape == (10, 16, 16, 3)
