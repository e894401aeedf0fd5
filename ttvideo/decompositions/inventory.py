"""Which convolutions does a model hold, and where do they stand?"""

import pandas as pd
from torch import nn


def inventory(model: nn.Module) -> pd.DataFrame:
    """Every Conv3d of `model`: its name, kernel (t, h, w), channels, stride and number of parameters."""
    return pd.DataFrame(
        {
            "module": name,
            "class": type(conv).__name__,
            "kernel": "×".join(map(str, conv.kernel_size)),
            "in": conv.in_channels,
            "out": conv.out_channels,
            "stride": "×".join(map(str, conv.stride)),
            "parameters": sum(parameter.numel() for parameter in conv.parameters()),
        }
        for name, conv in model.named_modules()
        if isinstance(conv, nn.Conv3d)
    )


def by_kind(table: pd.DataFrame) -> pd.DataFrame:
    """The inventory by kernel and channels: how many of each, and the first place where it stands."""
    groups = table.groupby(["kernel", "in", "out"], sort=False)
    return groups.agg(
        count=("module", "size"), first=("module", "first"), parameters=("parameters", "sum")
    ).reset_index()


def conv3d_output_shape(conv: nn.Conv3d, shape: tuple[int, ...]) -> tuple[int, ...]:
    """[B, C, T, H, W] -> the output's shape, by the formula (size + 2 padding - kernel) / stride + 1."""
    sizes = zip(shape[2:], conv.kernel_size, conv.stride, conv.padding)
    return (shape[0], conv.out_channels, *((n + 2 * p - k) // s + 1 for n, k, s, p in sizes))
