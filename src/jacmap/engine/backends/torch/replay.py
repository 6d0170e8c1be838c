"""The nodes run again on other values: differentiable, and as transformable as the operations are."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ...graph import Node


def evaluate(nodes: Sequence[Node], env: dict[int, Tensor]) -> dict[int, Tensor]:
    """`env` (value number → tensor) with the values that the nodes make."""
    for node in nodes:
        env.update(zip(node.outputs, node.payload([env[v] for v in node.inputs]), strict=True))
    return env
