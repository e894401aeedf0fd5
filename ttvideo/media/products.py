"""The matrix products of a module, found by running it without values, and the seconds that are expected of
them."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from ttvideo.programs.seconds import expected_work
from ttvideo.programs.seconds.work import Attention, Product, attention_work, machine, matmul_work
from ttvideo.targets.boards import BOARDS

Linear = tuple[int, int, int]  # rows, inner, columns
Attended = tuple[int, int, int, int, int]  # batch, heads, queries, keys, width of a head


class Products(TorchFunctionMode):
    """Inside it, each `F.linear` and `F.scaled_dot_product_attention` that is called is kept by its sizes."""

    def __init__(self):
        super().__init__()
        self.linears: list[Linear] = []
        self.attentions: list[Attended] = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is F.linear:
            x, weight = args[0], args[1] if len(args) > 1 else kwargs["weight"]
            self.linears.append((x.numel() // x.shape[-1], x.shape[-1], weight.shape[0]))
        elif func is F.scaled_dot_product_attention:
            q, k = (args[i] if len(args) > i else kwargs[name] for i, name in enumerate(("query", "key")))
            self.attentions.append((*q.shape[:3], k.shape[2], q.shape[3]))
        return func(*args, **kwargs)

    def expected_seconds(self, board: str, fidelity: str = "hifi2") -> float:
        """On one chip of the board, attention as TT-NN's op; norms, sums and copies aren't in it."""
        on = machine(BOARDS[board].chip)
        works = [matmul_work(Product(*sizes), on, fidelity) for sizes in self.linears]
        for batch, heads, queries, keys, width in self.attentions:
            works.append(attention_work(Attention(batch, heads, queries, keys, width, heads), on, fidelity))
        return sum(expected_work(work).us for work in works) / 1e6


@torch.no_grad()
def products_of(module: nn.Module, *inputs: Tensor, **keywords: Tensor) -> Products:
    """Of a call of the module; it and its inputs are on the meta device, so that none is multiplied."""
    with Products() as found:
        module(*inputs, **keywords)
    return found
