"""The small autoencoders of ttvideo/media/weights, a family each: what it is built of, how it starts, what it
learns on."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKLCogVideoX, AutoencoderKLMochi, AutoencoderKLWan
from diffusers.models.attention_processor import Attention
from diffusers.models.autoencoders.autoencoder_kl_wan import WanAttentionBlock
from torch import Tensor, nn

from ttvideo.media.latents import DROPPED_FRAMES
from ttvideo.media.models import DEMO
from ttvideo.media.video_models import TRAINED


@dataclass(frozen=True)
class Demo:
    """`config` is the class's, its own but for width and depth.

    A clip has `every` k + 1 frames. `early` and `late` are what is trained on, [((batch, frames, crop),
    odds)], before and after six tenths of the time. `decode` gives what the decoder makes of z [B, C, T, H,
    W], nothing dropped or clamped, `before` how many frames of that come before the clip's first.
    `statistics` is what a config says of latents, each channel a row [C, N] in float64.
    """

    autoencoder: type[nn.Module]
    folder: Path
    config: dict
    every: int
    early: list
    late: list
    decode: Callable[[nn.Module, Tensor], Tensor]
    statistics: Callable[[Tensor], dict]
    before: int = 0

    @property
    def clip_frames(self) -> int:
        """Of a clip of some latent frames, for validation and statistics."""
        return self.longest(18)

    def longest(self, frames: int) -> int:
        """The most frames, of so many, that the encoder takes."""
        return frames - (frames - 1) % self.every

    def target(self, x: Tensor) -> Tensor:
        """What the decoder should give for clips x [B, 3, T, H, W]: frames before the first repeat it."""
        return torch.cat([x[:, :, :1].expand(-1, -1, self.before, -1, -1), x], dim=2)


def moments(z: Tensor) -> dict:
    return dict(latents_mean=z.mean(1).tolist(), latents_std=z.std(1).tolist())


def wan_frames(vae: AutoencoderKLWan, z: Tensor) -> Tensor:
    """As `vae.decode`, without its clamp, beyond which there is no gradient to come back by."""
    vae.clear_cache()
    frames = []
    for t, latent in enumerate(vae.post_quant_conv(z).split(1, dim=2)):
        vae._conv_idx = [0]
        frames.append(
            vae.decoder(latent, feat_cache=vae._feat_map, feat_idx=vae._conv_idx, first_chunk=t == 0)
        )
    vae.clear_cache()
    return torch.cat(frames, dim=2)


DEMOS = {
    "mochi": Demo(
        AutoencoderKLMochi,
        DEMO,
        dict(
            encoder_block_out_channels=(32, 32, 32, 96),
            decoder_block_out_channels=(32, 64, 64, 64),
            layers_per_block=(1, 1, 1, 1, 1),
            latents_mean=(0.0,) * 12,
            latents_std=(1.0,) * 12,
        ),
        6,
        # About the same work each. Small crops teach most in a minute; GroupNorm takes its statistics over
        # the whole frame, so whole frames and longer clips must come in before the end.
        [((2, 13, 32), 0.85), ((1, 13, 64), 0.15)],
        [((2, 13, 32), 0.25), ((1, 13, 64), 0.3), ((1, 19, 48), 0.25), ((1, 37, 32), 0.2)],
        lambda vae, z: vae.decoder(z)[0],
        moments,
        before=DROPPED_FRAMES,
    ),
    "wan": Demo(
        AutoencoderKLWan,
        TRAINED["wan-demo"],
        dict(
            base_dim=24,
            dim_mult=[1, 2, 2, 2],
            num_res_blocks=1,
            latents_mean=[0.0] * 16,
            latents_std=[1.0] * 16,
        ),
        4,
        [((4, 9, 32), 1.0)],
        [((1, 17, 64), 1.0)],
        wan_frames,
        moments,
    ),
    "cogvideox": Demo(
        AutoencoderKLCogVideoX,
        TRAINED["cogvideox-demo"],
        # Four channels or more a group: of two, a norm leaves little but the sign of their difference in a
        # flat frame.
        dict(block_out_channels=(32, 32, 48, 48), layers_per_block=1, norm_num_groups=8, scaling_factor=1.0),
        8,
        [((4, 9, 32), 1.0)],
        [((1, 17, 64), 1.0)],
        lambda vae, z: vae.decode(z).sample,
        lambda z: dict(scaling_factor=1 / z.std().item()),
    ),
}


def build(demo: Demo) -> nn.Module:
    """The untrained model, started so that the picture gets through: residual branches begin at zero, the
    layers between them keep the variance. From torch's own start the branches' normalised noise drowns the
    picture, and training sits still for long."""
    vae = demo.autoencoder(**demo.config)
    with torch.no_grad():
        for name, module in vae.named_modules():
            start(name.split("."), module)
        if isinstance(vae, AutoencoderKLMochi):
            # The input's Fourier features, two octaves far above these clips', begin unused.
            vae.encoder.proj_in.weight[:, 3:] = 0
            vae.encoder.proj_in.weight[:, :3] *= 5**0.5
    return vae


def start(place: list[str], module: nn.Module) -> None:
    if isinstance(module, Attention):
        module.to_out[0].weight.zero_()
    elif isinstance(module, WanAttentionBlock):
        module.proj.weight.zero_()
    elif not isinstance(module, (nn.Conv2d, nn.Conv3d, nn.Linear)) or "attentions" in place:
        return
    elif "conv2" in place:
        module.weight.zero_()
    elif "conv_y" in place or "conv_b" in place:  # CogVideoX's scale and shift of a norm: one, and none
        module.weight.zero_()
        module.bias.fill_("conv_y" in place)
    elif place[-1] == "time_conv":
        average_frames(module)
    elif "conv1" not in place:
        nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5)


def average_frames(conv: nn.Conv3d) -> None:
    """Wan's convolutions over time begin as what its first frame gets, which goes around them: nothing done.
    Downwards that is the mean of two frames, upwards the same frame twice."""
    conv.weight.zero_()
    taps = conv.stride[0]
    for half in conv.weight[..., -taps:, 0, 0].split(conv.in_channels):
        half.copy_(torch.eye(conv.in_channels)[..., None].expand_as(half) / taps)
