"""The failure of October 2025, replayed: today's tools up to StableHLO, then the rule of that time.

Until tt-mlir learned Conv3d in December 2025 its TTIR to TTNN conversion marked a convolution with three
spatial dimensions illegal (tt-mlir#5397, tt-xla#1662). No plugin that can be installed still does, so the
failure is replayed, and every verdict from here says so.
"""

import dataclasses
import re

import torch
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import stablehlo
from torch import nn

from ttvideo.probing.probe import probe
from ttvideo.probing.verdict import FAIL, PASS, Verdict
from ttvideo.programs.mlir import context
from ttvideo.targets.target import STABLEHLO, TRACE, TTIR, TTNN

RULES = "2025-10 rules"
ILLEGAL = "failed to legalize operation 'ttir.convolution' that was explicitly marked illegal"
SPATIAL_DIMENSIONS = 3


def replay(module: nn.Module, inputs: tuple[torch.Tensor, ...], name: str = "") -> Verdict:
    """What the compiler of October 2025 made of `module`: lowered by the installed tools, judged by the old
    rule.

    Takes what `probe` takes. If lowering itself fails, that verdict comes back, marked as a replay as well.
    """
    lowered = probe(module, inputs, target="p150-compile", name=name)
    replayed = dataclasses.replace(lowered, target=RULES, replayed=True, ttir=None, ttnn=None)
    if lowered.stablehlo is None:
        return replayed
    location = first_conv3d(lowered.stablehlo)
    if location is None:
        return dataclasses.replace(replayed, stages=dict.fromkeys((TRACE, STABLEHLO, TTIR, TTNN), PASS))
    return dataclasses.replace(
        replayed,
        stages={TRACE: PASS, STABLEHLO: PASS, TTIR: PASS, TTNN: FAIL},
        kind="legalisation",
        op="ttir.convolution",
        location=location,
        message=ILLEGAL,
    )


def first_conv3d(text: str) -> str | None:
    """Where in the model the first convolution over three spatial dimensions of a StableHLO module stands."""
    with context():
        module = ir.Module.parse(text)
        found = []

        def visit(op):
            if op.name == "stablehlo.convolution":
                numbers = stablehlo.ConvDimensionNumbers(op.attributes["dimension_numbers"])
                if len(numbers.input_spatial_dimensions) == SPATIAL_DIMENSIONS:
                    found.append(str(op.location))
            return ir.WalkResult.ADVANCE

        module.operation.walk(visit, ir.WalkOrder.PRE_ORDER)
    return re.search(r'loc\("([^"]*)"', found[0]).group(1) if found else None
