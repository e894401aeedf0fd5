"""Muon: SGD with momentum whose step is made orthogonal, for the weight matrices of hidden layers.

Each step's matrix gets all its singular values near one, so that rare directions are learned as fast as
common ones. A convolution's weight [out, in, t, h, w] counts as the matrix [out, in * t * h * w].

Source: Keller Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024,
https://kellerjordan.github.io/posts/muon/; the step size that matches AdamW's from Liu et al.,
arXiv:2502.16982.
"""

import torch


def orthogonal(g: torch.Tensor, steps: int = 5) -> torch.Tensor:
    """The matrix g [rows, columns] with its singular values moved to about 1, by Newton-Schulz iteration."""
    x = g.T if g.shape[0] > g.shape[1] else g
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.T if g.shape[0] > g.shape[1] else x


class Muon(torch.optim.Optimizer):
    """For weights of two dimensions or more. `lr` is on AdamW's scale."""

    def __init__(self, params, lr=2e-3, momentum=0.95, weight_decay=0.01):
        super().__init__(params, dict(lr=lr, momentum=momentum, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                mean = self.state[p].setdefault("mean", torch.zeros_like(p))
                mean.lerp_(p.grad, 1 - group["momentum"])
                step = orthogonal(p.grad.lerp(mean, group["momentum"]).flatten(1)).view_as(p)
                scale = 0.2 * max(p.shape[0], p[0].numel()) ** 0.5
                p.mul_(1 - group["lr"] * group["weight_decay"]).add_(step, alpha=-group["lr"] * scale)
