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


def size(frames, height, width):
    return f"--latent-frames {frames} --latent-height {height} --latent-width {width}".split()


SMALL = ["random", "--model", "small", *size(3, 4, 4)]


def frames_in(video):
    return imageio.imread(video, plugin="FFMPEG")


def saved(tmp_path, name, **config):
    """A small autoencoder in a folder, another by its config; its name for the command."""
    small = SMALL_AUTOENCODERS[name]
    replace(small, config=small.config | config).make().float().save_pretrained(tmp_path / "vae")
    return ["--model", str(tmp_path / "vae"), "--target", "cpu", "--out", str(tmp_path / "video.mp4")]


def test_on_a_lane_without_results_the_video_is_the_hosts_and_says_so(tmp_path, capsys):
    out = tmp_path / "video.mp4"
    more = ["--target", "p150-compile", "--host-frames", "2", "--evaluated-frames", "1"]
    assert command.main(["decode", *SMALL, *more, "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "2 of 3 latent frames, decoded on the host" in said and said.count("✓ TTNN") == 3
    assert said.count("evaluated on the host: PCC 0.99") == 1
    assert len(frames_in(out)) == 7


def test_another_family_is_decoded_where_the_target_has_results(tmp_path, capsys):
    wan = ["decode", "random", *size(3, 4, 4), *saved(tmp_path, "Wan 2.1")]
    assert command.main(wan) == 0
    assert "5 frames of cpu" in capsys.readouterr().out and len(frames_in(tmp_path / "video.mp4")) == 5
    assert command.main([*wan, "--target", "p150-compile"]) == 0
    said = capsys.readouterr().out
    assert said.count("✓ TTNN") == 3 and "no video: p150-compile has no results" in said


def test_an_ltx_that_wants_a_timestep_has_it_from_the_command(tmp_path, capsys):
    ltx = ["decode", "random", *size(2, 2, 2), *saved(tmp_path, "LTX-Video", timestep_conditioning=True)]
    assert command.main(ltx) == 2
    assert "--timestep: got None, need a decode_timestep" in capsys.readouterr().err
    assert command.main([*ltx, "--timestep", "0.05"]) == 0 and "frames of cpu" in capsys.readouterr().out
    wan = ["decode", "random", "--model", "wan-demo", *size(2, 2, 2), *"--timestep 0.05 --target cpu".split()]
    assert command.main([*wan, "--out", str(tmp_path / "no.mp4")]) == 2
    assert "isn't conditioned on one" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name, setting",
    [("Wan 2.1", "out_channels"), ("QwenImage", "input_channels"), ("CogVideoX", "out_channels")],
)
def test_frames_of_more_than_three_channels_are_refused_first(tmp_path, capsys, name, setting):
    model = saved(tmp_path, name, **{setting: 4})
    assert command.main(["decode", "random", *model]) == 2
    assert "frames have 4 channels, need 3" in capsys.readouterr().err
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
    ["missing.pt", "clip --fps 0", "clip --out video.avi", "clip --host-frames 99", "clip --strategy native"],
)
def test_what_cannot_be_used_is_exit_code_2_and_one_sentence(tmp_path, monkeypatch, capsys, wrong):
    monkeypatch.chdir(tmp_path)
    assert command.main(["decode", *wrong.split(), "--target", "p150-compile"]) == 2
    assert capsys.readouterr().err.startswith("ttvideo: ") and not list(tmp_path.glob("*.mp4"))


def test_ctrl_c_keeps_what_is_done_and_the_same_command_goes_on(tmp_path, monkeypatch, capsys):
    out, keep = tmp_path / "video.mp4", tmp_path / "keep"
    again = ["decode", *SMALL, *f"--target cpu --dtype float32 --out {out} --keep {keep}".split()]
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
    assert said.count("on kept") == 2 and said.count("on cpu") == 1 and "13 frames of cpu" in said
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
    assert "--host-frames" in said and "130 interrupted" in said


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
