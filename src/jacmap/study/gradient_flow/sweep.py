"""Once forward and once back through the chain: values, dead units, gradients, and what random directions become."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from .network import PROBES, Network


@dataclass(frozen=True, eq=False)
class Change:
    """What a trial does to a segment: its output times `scale`, with `skip` plus its input."""

    scale: float = 1.0
    skip: bool = False


@dataclass(frozen=True, eq=False)
class Sweep:
    """Of L segments and a batch of B examples.

    `states`: L + 1, as `Network.states`. `dead[k]`, (m_k,): entries of segment k's output that no entry of its input
    moves at any example; `unread[k]`, (n_k,): entries of its input that move nothing at any example. `gain[k]` (B,):
    ‖J_k v‖² of a random v of length 1 and E‖J_k v‖² = ‖J_k‖_F²/n. `ahead[k]` (B, p): ‖v‖² of orthonormal directions at
    the input, pushed to cut k, and `ahead_top` (B,) the largest singular value of that block, as logarithms;
    `behind[k]`, `behind_top` the same for directions at the output pulled back to cut k. `gradient[k]` (B,): log of the
    length of the loss gradient at cut k, NaN without a loss. `scales`: what a trial chose.
    """

    states: list[Any]
    dead: list[np.ndarray]
    unread: list[np.ndarray]
    gain: list[np.ndarray]
    ahead: list[np.ndarray]
    ahead_top: list[np.ndarray]
    behind: list[np.ndarray]
    behind_top: list[np.ndarray]
    gradient: np.ndarray
    alike: np.ndarray
    scales: list[float]


Choose = Callable[[int, float], Change | None]  # (segment, its gain per kept direction as measured) -> a change
Tick = Callable[[str], None]


def sweep(
    network: Network, loss: Any, target: Any, seed: int, choose: Choose | None = None, tick: Tick = lambda what: None
) -> Sweep:
    """Values forward, cotangents back; a trial may change segments on the way."""
    draw = Draw(network, seed)
    count = len(network.chain)
    state: Any = (network.input, ())
    states = [state]
    tangents, log = draw.block(network.input.shape[1]), jnp.zeros(network.size, network.input.dtype)
    ahead, own_pushed, changes = [(_gram(tangents), log)], [], []
    for k in range(count):
        n = state[0].shape[1]
        before, own = state[0], draw.unit(n)
        new, pushed, scale, alone, gram = network.forward(k, state, tangents, own)
        change = None
        if choose is not None:
            m = new[0].shape[1]
            kept = float(jnp.sqrt(jnp.mean(jnp.sum(alone**2, axis=1)) * n / min(m, n)))
            change = choose(k, kept)
        if change is not None:
            y, further = new
            skipped = change.skip and y.shape == before.shape
            new = (change.scale * y + (before if skipped else 0), further)
            alone = change.scale * alone + (own if skipped else 0)
            scale = scale + math.log(abs(change.scale))
            if skipped:
                pushed, scale = _renormalised(pushed * jnp.exp(scale)[:, None, None] + tangents)
                gram = _gram(pushed)
        log, tangents, state = log + scale, pushed, new
        ahead.append((gram, log))
        own_pushed.append(alone)
        changes.append(change)
        states.append(state)
        tick(f"forward through segment {k + 1} of {count}")
    gradient, behind, own_pulled = _back(network, loss, target, draw, states, changes, tick)
    pushes, pulls = [np.asarray(a) for a in own_pushed], [np.asarray(a) for a in own_pulled]
    return Sweep(
        states=states,
        dead=[(alone == 0).all(axis=0) for alone in pushes],
        unread=[(alone == 0).all(axis=0) for alone in pulls],
        gain=[(alone.astype(np.float64) ** 2).sum(axis=1) for alone in pushes],
        ahead=[_squares_of(found) for found in ahead],
        ahead_top=[_top_of(found) for found in ahead],
        behind=[_squares_of(found) for found in behind],
        behind_top=[_top_of(found) for found in behind],
        gradient=np.asarray(gradient, np.float64),
        alike=np.asarray([_alike(np.asarray(x, np.float64)) for x, _ in states]),
        scales=[1.0 if change is None else change.scale for change in changes],
    )


def _back(
    network: Network, loss: Any, target: Any, draw: Draw, states: list[Any], changes: list[Change | None], tick: Tick
) -> tuple[Any, list[Any], list[Any]]:
    y = states[-1][0]
    given = network.seed(loss, target, states[-1])
    known = given is not None
    start = given if known else draw.unit(y.shape[1])
    lengths = jnp.linalg.norm(start, axis=1)
    block = draw.block(y.shape[1])
    cotangents = jnp.concatenate([(start / jnp.where(lengths > 0, lengths, 1)[:, None])[:, None], block], axis=1)
    logs = jnp.stack([jnp.log(lengths), jnp.zeros_like(lengths)], axis=1)
    gradients, behind, own_pulled = [logs[:, 0]], [(_gram(block), logs[:, 1])], []
    for k in range(len(network.chain) - 1, -1, -1):
        own = draw.unit(cotangents.shape[2])
        pulled, scale, alone, gram = network.backward(k, states[k], cotangents, own)
        change = changes[k]
        if change is not None and change.skip and pulled.shape == cotangents.shape:
            relative = change.scale * jnp.exp(_spread(scale, pulled.shape[1]))
            whole = pulled * relative[:, :, None] + cotangents
            (first, one), (rest, others) = _renormalised(whole[:, :1]), _renormalised(whole[:, 1:])
            pulled, scale = jnp.concatenate([first, rest], axis=1), jnp.stack([one, others], axis=1)
            gram = _gram(rest)
        elif change is not None:
            scale = scale + math.log(abs(change.scale))
        logs, cotangents = logs + scale, pulled
        gradients.append(logs[:, 0])
        behind.append((gram, logs[:, 1]))
        own_pulled.append(alone)
        tick(f"back through segment {k + 1} of {len(network.chain)}")
    return jnp.stack(gradients[::-1]), behind[::-1], own_pulled[::-1]


class Draw:
    """Random directions, the same at every call; drawn once per size."""

    def __init__(self, network: Network, seed: int):
        self.size, self.seed, self.dtype = network.size, seed, network.input.dtype
        self.units: dict[int, Any] = {}

    def unit(self, n: int) -> Any:
        """(B, n) of length 1, uniform on the sphere."""
        if n not in self.units:
            drawn = np.random.default_rng((self.seed, n)).standard_normal((self.size, n))
            self.units[n] = jnp.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True), self.dtype)
        return self.units[n]

    def block(self, n: int) -> Any:
        """(B, p, n), the p ≤ PROBES rows of each example orthonormal."""
        drawn = np.random.default_rng((self.seed, n, 1)).standard_normal((self.size, n, min(PROBES, n)))
        return jnp.asarray(np.linalg.qr(drawn)[0].swapaxes(1, 2), self.dtype)


def _renormalised(rows: Any) -> tuple[Any, Any]:
    length = jnp.max(jnp.linalg.norm(rows, axis=-1), axis=-1)
    safe = jnp.where(length > 0, length, 1)
    return rows / safe[:, None, None], jnp.log(length)


def _spread(scale: Any, count: int) -> Any:
    """(B, 2) → (B, count): the first scale for the first row, the second for all others."""
    return jnp.concatenate([scale[:, :1], jnp.repeat(scale[:, 1:], count - 1, axis=1)], axis=1)


def _gram(block: Any) -> Any:
    """(B, p, p) of (B, p, n): the rows' products with each other."""
    return jnp.einsum("bpn,bqn->bpq", block, block)


def _squares_of(found: tuple[Any, Any]) -> np.ndarray:
    """log ‖row‖², (B, p)."""
    gram, log = (np.asarray(part, np.float64) for part in found)
    with np.errstate(divide="ignore"):
        return np.log(np.einsum("bpp->bp", gram)) + 2 * log[:, None]


def _top_of(found: tuple[Any, Any]) -> np.ndarray:
    """log of the largest singular value of the block, (B,)."""
    gram, log = (np.asarray(part, np.float64) for part in found)
    with np.errstate(divide="ignore"):
        return 0.5 * np.log(np.maximum(np.linalg.eigvalsh(gram)[:, -1], 0)) + log


def _alike(x: np.ndarray) -> float:
    """The mean cosine between the values of different examples; 1 for a single one."""
    count = len(x)
    if count == 1:
        return 1.0
    lengths = np.linalg.norm(x, axis=1, keepdims=True)
    unit = x / np.where(lengths > 0, lengths, 1)
    return float(((unit.sum(axis=0) ** 2).sum() - (unit**2).sum()) / (count * (count - 1)))
