"""Plain PyTorch AD at one point: what the probe of a plan compares with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..engine.backends.torch import function as backend
from ..engine.backends.torch.replay import evaluate
from ..engine.backends.torch.run import Runner, Ways, ravel, split


class Truth:
    """Plain AD of the function itself, never of the graph that was read from it; see `_probe.Truth`."""

    def __init__(
        self,
        call: backend.Call,
        traced: backend.Traced,
        moving: Sequence[torch.Tensor],
        others: Sequence[torch.Tensor],
        start: torch.Tensor | None,
    ):
        self.traced, self.graph = traced, traced.graph
        self.forward, self.reverse, self.eps = traced.graph.forward, traced.reverse, traced.eps
        self._run: Runner = backend.runner(call, traced, [leaf.detach() for leaf in moving], others, Ways(), start)

    def push(self, v: np.ndarray) -> np.ndarray:
        return to_numpy(self._run.push(self._seed(v)[:, None]))[:, 0]

    def pull(self, u: np.ndarray) -> np.ndarray:
        return to_numpy(self._run.pull(self._seed(u)[None]))[0]

    def matrix(self) -> np.ndarray:
        """J, m×n."""
        m, n = self.graph.shape
        run = self._run
        return to_numpy(run.pull(run.identity(m)) if self.reverse else run.push(run.identity(n)))

    @property
    def values(self) -> dict[int, torch.Tensor]:
        """Every value of the graph at the point."""
        return self._run.parts.primal

    def _seed(self, numbers: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(numbers).to(self._run.x.device, self._run.dtype)

    def tangents(self, v: np.ndarray) -> list[tuple[Any, int, np.ndarray]]:
        """(node, value, its tangent) for every active value on the way, along one direction."""
        graph, parts = self.graph, self._run.parts
        at = [(node, w) for node in graph.active_nodes for w in node.outputs if graph.values[w].active]

        def everything(x: torch.Tensor) -> torch.Tensor:
            env = dict(parts.fixed) | dict(zip(graph.inputs, split(x, parts.shapes), strict=True))
            values = evaluate(graph.nodes, env)
            return ravel([values[w] for _, w in at], self._run.dtype)

        if not at:
            return []
        run = Runner(everything, self._run.x, (0, 0), self._run.dtype, parts, Ways())
        pushed = to_numpy(run.push(self._seed(v)[:, None]))[:, 0]
        ends = np.cumsum([graph.values[w].size for _, w in at])
        return [(node, w, t) for (node, w), t in zip(at, np.split(pushed, ends[:-1]), strict=True)]


def to_numpy(tensor: torch.Tensor) -> np.ndarray:
    """The numbers of a tensor; half formats, which NumPy or SciPy lack, as float32."""
    tensor = tensor.detach().cpu().resolve_conj().resolve_neg()
    return tensor.float().numpy() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor.numpy()
