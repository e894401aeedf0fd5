"""Padding out of slices and concatenations.

`F.pad(mode="replicate")` in bf16 is a float32 gather in torch_xla, and a rank-5 pad has no TTNN op
(tenstorrent/tt-forge-models#926); slices and concatenations keep their dtype and exist at any rank.
"""

import torch

from ttvideo.basics.errors import Refused


def pad(x: torch.Tensor, dim: int, before: int, after: int, mode: str, block: int = 1) -> torch.Tensor:
    """Pad `x` along `dim` by `before` and `after` entries, each `block` rows thick.

    `block` is for frames folded with the batch: in [T*B, H, W, C] one frame is B rows.
    Modes are those of `nn.Conv3d`. Raises `Refused` where torch's own pad would: "reflect" reaches at
    most size - 1, "circular" at most size.
    """
    if not before and not after:
        return x
    size = x.shape[dim] // block
    reach = {"reflect": size - 1, "circular": size}.get(mode)
    if reach is not None and max(before, after) > reach:
        raise Refused(f"{mode} padding", max(before, after), f"at most {reach} for a size of {size}")

    def entries(start, count=1):
        return x.narrow(dim, start * block, count * block)

    if mode == "zeros":
        zeros = torch.zeros_like(entries(0))
        head, tail = [zeros] * before, [zeros] * after
    elif mode == "replicate":
        head, tail = [entries(0)] * before, [entries(size - 1)] * after
    elif mode == "reflect":
        head = [entries(i) for i in range(before, 0, -1)]
        tail = [entries(size - 2 - i) for i in range(after)]
    else:  # circular
        head = [entries(size - before, before)] if before else []
        tail = [entries(0, after)] if after else []
    return torch.cat([*head, x, *tail], dim)
