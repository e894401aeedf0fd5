"""HunyuanVideo-1.5's decoder for tiles."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ttvideo.basics.errors import Refused
from ttvideo.decoders.attention import CausalAttention, pointwise
from ttvideo.decoders.causal import EDGES, FIRST, CausalConv, FrameConv
from ttvideo.decoders.clip_decoder import ClipDecoder, Memory, frames_of, video_of
from ttvideo.decoders.hunyuan import causal, check_silu
from ttvideo.decoders.residual import ChannelNorm, ChannelResidual
from ttvideo.decoders.rows import shuffled


class HunyuanVideo15TileDecoder(ClipDecoder):
    """A `HunyuanVideo15Decoder3D` (diffusers), exactly; its autoencoder adds nothing to it.

    [B, 32, T, H, W] -> [B, 3, 4 T, 16 H, 16 W], the first step 3 frames fewer: the first latent frame of a
    clip is one frame of video. Streaming in steps of any length with a state that grows: convolutions are
    causal, with the first frame repeated before the clip, and norms look at one pixel, but the attention sees
    all frames so far, whose keys and values are kept. For a latent frame of 30 x 53 these are 6.5 MB in bf16,
    so each step is another program.

    Copies the weights and changes nothing in the decoder. Raises `Refused` for another architecture.
    """

    streaming = "state grows"

    def attention(self, name: str, stock: nn.Module) -> nn.Module:
        return Attention(name, stock)

    def upsample(self, name: str, scale: int, stock: nn.Module) -> nn.Module:
        return Upsample(name, scale, stock)

    def __init__(self, decoder: nn.Module):
        super().__init__()
        self.latent_channels = decoder.conv_in.conv.in_channels
        self.conv_in = causal("conv_in", 1, decoder.conv_in)
        self.shortcut = RepeatedShortcut(repeated("conv_in", decoder.conv_in.conv, decoder.repeat))
        mid = decoder.mid_block
        blocks = [Residual("mid_block.resnets.0", 1, mid.resnets[0])]
        for i, (attention, resnet) in enumerate(zip(mid.attentions, mid.resnets[1:])):
            if attention is not None:
                blocks.append(self.attention(f"mid_block.attentions.{i}", attention))
            blocks.append(Residual(f"mid_block.resnets.{i + 1}", 1, resnet))
        scale = 1
        for i, block in enumerate(decoder.up_blocks):
            name = f"up_blocks.{i}"
            blocks += [
                Residual(f"{name}.resnets.{j}", scale, resnet) for j, resnet in enumerate(block.resnets)
            ]
            if block.upsamplers is not None:
                blocks.append(self.upsample(f"{name}.upsamplers.0", scale, block.upsamplers[0]))
                scale *= 2
        self.blocks, self.scale = nn.ModuleList(blocks), scale
        self.norm_out = ChannelNorm(decoder.norm_out)
        self.conv_out = causal("conv_out", scale, decoder.conv_out)

    def clip(self, z_cthw: Tensor, memory: Memory) -> Tensor:
        latents = frames_of(z_cthw)
        frames = [a + self.shortcut(z) for a, z in zip(self.conv_in(latents, memory), latents)]
        for block in self.blocks:
            frames = block(frames, memory)
        frames = self.conv_out([F.silu(self.norm_out(frame)) for frame in frames], memory)
        return video_of(frames, memory.at(self.scale))


class RepeatedShortcut(nn.Module):
    """A convolution's shortcut: [N, C] -> [N, O], each number one of x, by a matrix [O, C] of 1 and 0."""

    def __init__(self, picks: Tensor):
        super().__init__()
        self.picks = nn.Parameter(picks, requires_grad=False)

    def forward(self, x_nc: Tensor) -> Tensor:
        return F.linear(x_nc, self.picks)


def repeated(name: str, conv: nn.Conv3d, repeats: int, part: int = 1) -> Tensor:
    """The picks of `conv`'s shortcut, or of a `part`-th of its outputs: each input so many times. Raises
    `Refused` if they differ."""
    outputs = conv.out_channels // part
    if conv.out_channels % part or conv.in_channels * repeats != outputs:
        got = f"{outputs} outputs for {conv.in_channels} inputs, each {repeats} times"
        raise Refused(f"convolution {name}", got, "as many outputs as repeated inputs")
    return F.one_hot(torch.arange(outputs) // repeats, conv.in_channels).to(conv.weight.dtype)


class Residual(ChannelResidual):
    """A `HunyuanVideo15ResnetBlock` on frames."""

    def __init__(self, name: str, scale: int, stock: nn.Module):
        check_silu(name, stock.nonlinearity)
        super().__init__(
            [ChannelNorm(norm) for norm in (stock.norm1, stock.norm2)],
            [causal(f"{name}.{half}", scale, getattr(stock, half)) for half in ("conv1", "conv2")],
            pointwise(stock.conv_shortcut),
        )


class Attention(nn.Module):
    """A `HunyuanVideo15AttnBlock` on frames: each sees itself and all before it."""

    def __init__(self, name: str, stock: nn.Module):
        super().__init__()
        self.norm = ChannelNorm(stock.norm)
        self.attention = CausalAttention(name, stock.to_q, stock.to_k, stock.to_v, stock.proj_out)

    def forward(self, frames: list[Tensor], memory: Memory) -> list[Tensor]:
        return self.attention(frames, [self.norm(frame) for frame in frames], memory)


class Upsample(nn.Module):
    """A `HunyuanVideo15Upsample`: depth to space, and to time but for the first frame of a clip.

    A frame's outputs are, in this order of channels, (t, h, w, O): each t is a convolution of its own. Of a
    clip's first frame they are (h, w, 2, O), half of them left out; its past is itself, so its taps are added
    up beforehand. The shortcut is the input, each number repeated: it joins before the pixels are put in
    place.
    """

    def __init__(self, name: str, scale: int, stock: nn.Module):
        super().__init__()
        causal(f"{name}.conv", scale, stock.conv)  # refuses what it doesn't know
        name, conv, times = f"{name}.conv", stock.conv.conv, 2 if stock.add_temporal_upsample else 1
        self.scale = scale
        picks, self.convs = repeated(name, conv, stock.repeats).chunk(times), nn.ModuleList()
        for weight, bias in zip(conv.weight.chunk(times), conv.bias.chunk(times)):
            self.convs.append(CausalConv(name, scale, weight, bias, before=FIRST, padding=EDGES))
        self.shortcuts = nn.ModuleList(RepeatedShortcut(pick) for pick in picks)
        self.first = self.first_shortcut = None
        if times == 2:
            weight, bias = (p.unflatten(0, (4, 2, -1))[:, 0].flatten(0, 1) for p in (conv.weight, conv.bias))
            self.first = FrameConv(weight.sum(2), bias, padding=EDGES)
            self.first_shortcut = RepeatedShortcut(repeated(name, conv, stock.repeats // 2, part=2))

    def forward(self, frames: list[Tensor], memory: Memory) -> list[Tensor]:
        size = memory.at(self.scale)
        windows = self.convs[0].windows([self.convs[0].surrounded(frame, memory) for frame in frames], memory)
        outs = []
        for window, frame in zip(windows, frames):
            if memory.starts and self.first is not None and not outs:
                outs.append(self.first(window[-1], size).flatten(0, -2) + self.first_shortcut(frame))
            else:
                outs += [
                    conv.output(window, size) + shortcut(frame)
                    for conv, shortcut in zip(self.convs, self.shortcuts)
                ]
        return [shuffled(out, size) for out in outs]
