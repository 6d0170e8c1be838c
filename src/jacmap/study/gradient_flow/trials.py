"""Suggestions tried on the function itself: a segment is changed, and the gradient measured again."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Collection
from typing import Any

import jax.numpy as jnp
import numpy as np

from ..._segments import Hook, Operands, Segment, State
from .flow import Trial
from .network import Network
from .sweep import Change, Sweep, sweep
from .units import SLOPES, SWITCHES, read_by

RATIO = "gradient at the input over that at the output"
NARROW = 1e-3  # of a spread that counts as none: units are not divided by it


class Bench:
    """One network, its loss, and what was measured of it as it is."""

    def __init__(self, network: Network, loss: Any, target: Any, seed: int, measured: Sweep):
        self.network, self.loss, self.target, self.seed, self.measured = network, loss, target, seed, measured

    def again(self, choose: Callable[[int, float], Change | None], network: Network | None = None) -> Sweep:
        return sweep(network or self.network, self.loss, self.target, self.seed, choose)

    def rescaled(self, chosen: Collection[int]) -> Trial:
        """Each chosen segment's output divided by its gain, as measured where the ones before are already changed."""
        after = self.again(lambda k, kept: Change(1 / kept) if k in chosen and kept > 0 else None)
        scales = [after.scales[k] for k in chosen]
        middle = float(np.exp(np.median(np.log(np.abs(scales)))))
        how = f"× {middle:.3g}" if len(scales) == 1 else f"each × {middle:.3g} in the middle"
        return Trial(f"rescale the weights there to gain 1 ({how})", "measured", RATIO, *self._ratios(after))

    def with_residual(self, chosen: Collection[int]) -> Trial | None:
        """x + f(x) in the place of f(x), where the shapes allow it."""
        square = [k for k in chosen if self.network.chain[k].shape[0] == self.network.chain[k].shape[1]]
        if not square:
            return None
        after = self.again(lambda k, kept: Change(1.0, skip=True) if k in square else None)
        return Trial("add a residual connection (x + f(x)) there", "measured", RATIO, *self._ratios(after))

    def standardised(self, chosen: Collection[int]) -> Trial:
        """What saturated operations read, centred and scaled over the batch."""
        network = self._with(chosen, tuple(SLOPES), scaled=True)
        after = self.again(lambda k, kept: None, network)
        what = "standardise what is saturated over the batch (as batch norm does)"
        return Trial(what, "measured", RATIO, *self._ratios(after))

    def centred(self, chosen: Collection[int]) -> Trial:
        """What rectifiers read, centred over the batch: biases that give every unit examples on both sides."""
        network = self._with(chosen, SWITCHES, scaled=False)
        after = self.again(lambda k, kept: None, network)
        ends = (float(np.mean([found.dead[k].mean() for k in chosen])) for found in (self.measured, after))
        return Trial("move the biases so that every unit is centred over the batch", "measured", "share dead", *ends)

    def _ratios(self, after: Sweep) -> tuple[float, float]:
        return ratio(self.measured), ratio(after)

    def _with(self, chosen: Collection[int], ops: tuple[str, ...], scaled: bool) -> Network:
        """The same network, with `Standardised` segments in the place of the chosen."""
        network = copy.copy(self.network)
        links, network.operands, network.axes = list(network.chain), list(network.operands), list(network.axes)
        every = np.arange(network.size)

        def look(segment: Segment, along: Any, operands: Any, x: Any) -> list[Any]:
            return [z for _, z in read_by(segment, ops, along, operands, x) if jnp.issubdtype(z.dtype, jnp.floating)]

        for k in chosen:
            read = self.network.at_examples("read", k, look, self.measured.states[k], every, ops)
            shifts = tuple(z.mean(axis=0) if network.size > 1 else jnp.zeros_like(z[0]) for z in read)
            factors = tuple(_factor(z - shift, scaled) for z, shift in zip(read, shifts, strict=True))
            own = {field.name: getattr(links[k], field.name) for field in dataclasses.fields(Segment)}
            links[k] = Standardised(**{**own, "key": (own["key"], ops, "standardised")}, ops=ops, count=len(read))
            network.operands[k] = (*network.operands[k], *shifts, *factors)
            network.axes[k] = (*network.axes[k], *([None] * (2 * len(read))))
        network.chain = dataclasses.replace(network.chain, links=tuple(links))
        return network


@dataclasses.dataclass(frozen=True, eq=False)
class Standardised(Segment):
    """A segment in which the operations `ops` read (value − shift) × factor; these are its last 2·count operands."""

    ops: tuple[str, ...] = ()
    count: int = 0

    def run(self, state: State, operands: Operands, hook: Hook | None = None) -> State:
        own = len(operands) - 2 * self.count
        pairs = iter(list(zip(operands[own : own + self.count], operands[own + self.count :], strict=True)))

        def standardise(op: str, values: list[Any]) -> list[Any]:
            if op in self.ops and jnp.issubdtype(values[0].dtype, jnp.floating):
                shift, factor = next(pairs)
                values = [(values[0] - shift) * factor, *values[1:]]
            return values if hook is None else hook(op, values)

        return super().run(state, operands[:own], standardise)


def _factor(centred: Any, scaled: bool) -> Any:
    if not scaled:
        return jnp.ones((), centred.dtype)
    size = jnp.sqrt(jnp.mean(centred**2))
    return jnp.where(size > NARROW, 1 / jnp.where(size > NARROW, size, 1), 1).astype(centred.dtype)


def ratio(measured: Sweep) -> float:
    """Root mean square length of the gradient at the input over that at the output."""
    first, last = (log_root_mean_square(measured.gradient[k]) for k in (0, -1))
    return float(np.exp(np.clip(first - last, -745, 700))) if np.isfinite(last) else 0.0


def log_root_mean_square(logs: np.ndarray) -> float:
    """log √mean exp(2 logs), which neither under- nor overflows."""
    top = logs.max()
    if not np.isfinite(top):
        return float(top)
    return float(top + 0.5 * np.log(np.mean(np.exp(2 * (logs - top)))))
