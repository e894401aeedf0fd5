"""The parts of Mochi's pipeline around its VAE, one at a time: a block of the transformer, its ends, a block
of the text encoder.

Weights are random and seeded, widths the published ones or small; 48 blocks of 0.4 GB are never made. Each
part comes as a module of tensors alone and its inputs. None has a convolution in three dimensions.
"""

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

import torch
from diffusers.models.attention_processor import MochiAttnProcessor2_0
from diffusers.models.transformers.transformer_mochi import MochiTransformer3DModel, MochiTransformerBlock
from torch import Tensor, nn
from torch.nn import functional as F

from ttvideo.basics.errors import Refused

WHOLE_CLIP = (1, 3, 163, 480, 848)  # what the pipeline makes of FULL
BLOCKS, TEXT_BLOCKS, STEPS = 48, 24, 64
CHUNK = 704  # queries: 22 tiles
PASSES = 2  # a step: with the prompt and without (guidance)


@dataclass(frozen=True)
class Size:
    """Widths of the transformer and of T5, and `latents` (T, H, W) with the prompt's `tokens`."""

    heads: int
    head: int
    text: int  # the transformer's, for the prompt
    latents: tuple[int, int, int]
    tokens: int
    t5: int
    t5_heads: int
    t5_inner: int

    @property
    def width(self) -> int:
        return self.heads * self.head

    @property
    def visual(self) -> int:
        """Tokens: patches of 2 x 2 latents."""
        frames, height, width = self.latents
        return frames * (height // 2) * (width // 2)


FULL = Size(24, 128, 1536, (28, 60, 106), 256, 4096, 64, 10240)
SMALL = Size(2, 64, 64, (2, 8, 12), 32, 128, 2, 256)


def written_out(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention as matrix products and a softmax, [B, heads, N, c] each: what torch_xla makes of torch's."""
    return F.softmax(q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]), dim=-1) @ v


def fused(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The same as one op, ttir.scaled_dot_product_attention, by a custom call: torch_xla takes torch's own
    apart.

    The call is tt-xla's (python_package/tt_torch/custom_ops.py). The compiler knows TT-NN's op, which keeps
    scores in L1; this plugin's, at its default level, takes it apart all the same.
    """
    if q.device.type != "xla":
        return F.scaled_dot_product_attention(q, k, v)
    from torch_xla.experimental.stablehlo_custom_call import stablehlo_custom_call

    attributes = {
        "is_causal": "False",
        "has_attention_mask": "False",
        "scale": str(1 / math.sqrt(q.shape[-1])),
    }
    name = "tt.scaled_dot_product_attention"
    return stablehlo_custom_call([q, k, v], name, [q.shape], [q.dtype], frontend_attributes=attributes)


def in_chunks(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The same, `CHUNK` queries after the other: each row of scores is whole, so nothing else changes.

    Scaled before the scores are made, which are 350 times as large. For 44,776 tokens they are 96 GB at once,
    1.5 GB here.
    """
    q, k = q / math.sqrt(q.shape[-1]), k.transpose(-1, -2)
    return torch.cat([F.softmax(part @ k, dim=-1) @ v for part in q.split(CHUNK, -2)], -2)


class JointAttention:
    """`MochiAttnProcessor2_0` where every token of the prompt counts; a shorter prompt is given without its
    padding.

    Stock reads the mask back to the host for it (`torch.nonzero`): the graph is cut in every block. With
    `halves`, the rotation's even and odd channels are the halves of a head (see `even_channels_first`).
    """

    def __init__(self, attend: Callable[[Tensor, Tensor, Tensor], Tensor], halves: bool):
        self.attend, self.halves = attend, halves

    def __call__(
        self, attn, hidden_states, encoder_hidden_states, attention_mask=None, image_rotary_emb=None
    ):
        seen, text = hidden_states.shape[1], encoder_hidden_states
        heads = lambda x: x.unflatten(2, (attn.heads, -1))  # noqa: E731
        q, k = (
            norm(heads(to(hidden_states)))
            for norm, to in ((attn.norm_q, attn.to_q), (attn.norm_k, attn.to_k))
        )
        rotate = rotate_halves if self.halves else rotate_pairs
        q, k = (rotate(x, *image_rotary_emb) for x in (q, k))
        text_q = attn.norm_added_q(heads(attn.add_q_proj(text)))
        text_k = attn.norm_added_k(heads(attn.add_k_proj(text)))
        pairs = (q, text_q), (k, text_k), (heads(attn.to_v(hidden_states)), heads(attn.add_v_proj(text)))
        out = self.attend(*(torch.cat([x.transpose(1, 2) for x in pair], 2) for pair in pairs))
        out = out.transpose(1, 2).flatten(2)
        text = attn.to_add_out(out[:, seen:]) if hasattr(attn, "to_add_out") else out[:, seen:]
        return attn.to_out[0](out[:, :seen]), text


def rotate_pairs(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """As stock writes it: the last dimension, 2, is stored as 32, 16 times the bytes."""
    even, odd = x[..., 0::2].float(), x[..., 1::2].float()
    return torch.stack(
        [(even * cos - odd * sin).to(x.dtype), (even * sin + odd * cos).to(x.dtype)], -1
    ).flatten(-2)


def rotate_halves(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    even, odd = x.float().chunk(2, -1)
    return torch.cat([(even * cos - odd * sin).to(x.dtype), (even * sin + odd * cos).to(x.dtype)], -1)


def even_channels_first(block: MochiTransformerBlock) -> MochiTransformerBlock:
    """A copy whose queries and keys have their heads' even channels before the odd ones: scores are the same
    sums.

    Raises `Refused` for another block.
    """
    if not isinstance(block, MochiTransformerBlock):
        raise Refused("block", type(block).__name__, "a MochiTransformerBlock")
    block = deepcopy(block)
    attn = block.attn1
    for linear in (attn.to_q, attn.to_k, attn.add_q_proj, attn.add_k_proj):
        w = linear.weight.data.unflatten(0, (attn.heads, -1))
        linear.weight.data = torch.cat([w[:, 0::2], w[:, 1::2]], 1).flatten(0, 1)
    for norm in (attn.norm_q, attn.norm_k, attn.norm_added_q, attn.norm_added_k):
        norm.weight.data = torch.cat([norm.weight.data[0::2], norm.weight.data[1::2]])
    return block


WAYS = {"stock": None, "written out": written_out, "fused": fused, "in chunks": in_chunks}


class Block(nn.Module):
    """A transformer block: (visual [1, N, C], text [1, M, D], conditioning [1, C], cos, sin [N, heads, c /
    2]) -> both.

    `way` is one of `WAYS`: 'stock' with its mask; the others without, 'in chunks' with its channels
    reordered, too.
    """

    def __init__(self, block: MochiTransformerBlock, way: str = "in chunks"):
        super().__init__()
        if way not in WAYS:
            raise Refused("way", repr(way), f"one of {', '.join(WAYS)}")
        self.stock, halves = way == "stock", way == "in chunks"
        self.block = even_channels_first(block) if halves else deepcopy(block)
        self.block.attn1.processor = (
            MochiAttnProcessor2_0() if self.stock else JointAttention(WAYS[way], halves)
        )

    def forward(self, visual: Tensor, text: Tensor, conditioning: Tensor, cos: Tensor, sin: Tensor):
        mask = torch.ones(text.shape[:2], dtype=torch.bool, device=text.device) if self.stock else None
        return self.block(visual, text, conditioning, mask, (cos, sin))


class Before(nn.Module):
    """What stands before the blocks: patches, time and the prompt embedded."""

    def __init__(self, model: MochiTransformer3DModel):
        super().__init__()
        self.patch_embed, self.time_embed = model.patch_embed, model.time_embed

    def forward(self, z_tchw: Tensor, prompt: Tensor, timestep: Tensor, mask: Tensor):
        conditioning, text = self.time_embed(timestep, prompt, mask, hidden_dtype=z_tchw.dtype)
        return self.patch_embed(z_tchw).flatten(0, 1)[None], text, conditioning


class After(nn.Module):
    """What stands after them: the norm and the projection to patches, put in place."""

    def __init__(self, model: MochiTransformer3DModel, latents: tuple[int, int, int]):
        super().__init__()
        self.norm_out, self.proj_out, self.latents = model.norm_out, model.proj_out, latents

    def forward(self, visual: Tensor, conditioning: Tensor) -> Tensor:
        frames, height, width = self.latents
        out = self.proj_out(self.norm_out(visual, conditioning))
        out = out.reshape(1, frames, height // 2, width // 2, 2, 2, -1).permute(0, 6, 1, 2, 4, 3, 5)
        return out.reshape(1, -1, frames, height, width)


class TextBlock(nn.Module):
    """A block of T5's encoder, version 1.1: [1, M, C] and the relative bias [1, heads, M, M] -> [1, M, C].

    Self-attention without a scale, then a gated GELU, each after an RMS norm and around it (Raffel et al.,
    JMLR 21, 2020).
    """

    def __init__(self, width: int, heads: int, inner: int):
        super().__init__()
        self.heads = heads
        self.gains = nn.ParameterList(nn.Parameter(torch.ones(width)) for _ in range(2))
        self.q, self.k, self.v, self.o = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.gate, self.up, self.down = (
            nn.Linear(*sizes, bias=False) for sizes in ((width, inner), (width, inner), (inner, width))
        )
        each = width // heads
        for linear, deviation in (
            (self.q, (width * each) ** -0.5),
            (self.down, inner**-0.5),
            (self.o, width**-0.5),
        ):
            nn.init.normal_(linear.weight, std=deviation)
        for linear in (self.k, self.v, self.gate, self.up):
            nn.init.normal_(linear.weight, std=width**-0.5)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        y = F.rms_norm(x, x.shape[-1:], self.gains[0], 1e-6)
        q, k, v = (
            linear(y).unflatten(2, (self.heads, -1)).transpose(1, 2) for linear in (self.q, self.k, self.v)
        )
        weights = F.softmax(q @ k.transpose(-1, -2) + bias, dim=-1)
        x = x + self.o((weights @ v).transpose(1, 2).flatten(2))
        y = F.rms_norm(x, x.shape[-1:], self.gains[1], 1e-6)
        return x + self.down(F.gelu(self.gate(y), approximate="tanh") * self.up(y))


PARTS = ("block, written out", "block, fused", "block, in chunks", "before", "after", "text block")


def make_part(
    name: str, size: Size, dtype: torch.dtype = torch.bfloat16
) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """A module of `PARTS`, or 'block, stock', with seeded weights in `dtype`, and inputs. Raises `Refused`
    for another name."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if name == "text block":
            module = TextBlock(size.t5, size.t5_heads, size.t5_inner)
            inputs = (
                torch.randn(1, size.tokens, size.t5),
                torch.randn(1, size.t5_heads, size.tokens, size.tokens),
            )
        elif name.startswith("block"):
            way = name.partition(", ")[2]
            module = Block(MochiTransformerBlock(size.width, size.heads, size.head, size.text), way)
            angles = torch.randn(size.visual, size.heads, size.head // 2) * 3
            inputs = torch.randn(1, size.visual, size.width), torch.randn(1, size.tokens, size.text)
            inputs = *inputs, torch.randn(1, size.width), angles.cos(), angles.sin()
        elif name in ("before", "after"):
            model = MochiTransformer3DModel(
                num_attention_heads=size.heads, attention_head_dim=size.head, num_layers=0,
                pooled_projection_dim=size.text, text_embed_dim=size.t5,
            )  # fmt: skip
            frames, height, width = size.latents
            inputs = torch.randn(1, size.visual, size.width), torch.randn(1, size.width)
            module = After(model, size.latents)
            if name == "before":
                module, prompt = Before(model), torch.randn(1, size.tokens, size.t5)
                inputs = (
                    torch.randn(frames, 12, height, width),
                    prompt,
                    torch.tensor([500.0]),
                    torch.ones(1, size.tokens),
                )
        else:
            raise Refused("part", repr(name), f"one of {', '.join(PARTS)}, block, stock")
    module = module.to(dtype).eval().requires_grad_(False)
    kept = (
        (3, 4) if name.startswith("block") else (2,) if name == "before" else ()
    )  # angles and times stay float32
    return module, tuple(x if i in kept else x.to(dtype) for i, x in enumerate(inputs))
