"""A video autoencoder under torch.compile, in steps; tt-forge-models' demos compile all of `vae.decode`.

    python docs/torch_compile.py            # Tenstorrent's wheel (pjrt-plugin-tt), on a card
    python docs/torch_compile.py openxla    # torch_xla's own backend, on this machine's CPU

Their loaders give a module `forward(latents) -> vae.decode(latents, return_dict=False)[0]`. `Decoder` is the
same to its caller, in two programs, whatever the clip's length: its first step, and all others.
"""

import sys

import torch
import torch_xla.runtime
from torch import Tensor, nn

from ttvideo import compare, for_tiles
from ttvideo.media.video_models import load_autoencoder


class Decoder(nn.Module):
    """Latents [B, C, T, H, W] -> frames [B, 3, T', H', W'] on the host, as the autoencoder decodes them.

    On `device`, compiled by `backend`; for families with a constant state: Mochi, Wan, CogVideoX.
    """

    def __init__(self, vae: nn.Module, backend: str, device: torch.device):
        super().__init__()
        self.decoder, self.device = for_tiles(vae).to(device), device
        self.step = torch.compile(self.decoder, backend=backend, fullgraph=True, dynamic=False)

    @torch.no_grad()
    def forward(self, latents: Tensor) -> Tensor:
        parts, state = [], None
        for piece in latents.split(self.decoder.steps(latents.shape[2]), dim=2):
            frames, state = self.step(piece.to(self.device), state)
            parts.append(frames.cpu())
        return torch.cat(parts, dim=2)[:, :, self.decoder.dropped_frames :]


def main(backend: str = "tt") -> None:
    if backend == "tt":
        try:
            import torch_plugin_tt  # noqa: F401  (registers the device and the backend)
        except ImportError as error:
            sys.exit(f"{error}: need Tenstorrent's wheel, pjrt-plugin-tt, or the argument openxla")
        torch_xla.runtime.set_device_type("TT")
    vae = load_autoencoder("wan-demo")
    latents = torch.randn(1, vae.config.z_dim, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        stock = vae.decode(latents, return_dict=False)[0]
    print(compare(Decoder(vae, backend, torch_xla.device())(latents), stock))


if __name__ == "__main__":
    main(*sys.argv[1:])
