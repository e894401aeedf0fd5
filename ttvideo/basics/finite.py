"""No NaN and no Inf: what is checked of weights, latents and states before anything long starts."""

from collections.abc import Mapping

import torch

from ttvideo.basics.errors import Refused


def check_finite(what: str, tensors: Mapping[str, torch.Tensor]) -> None:
    """Raise `Refused` if any of the tensors, by name, holds NaN or Inf."""
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise Refused(what, f"NaN or Inf in {name}", "finite values")
