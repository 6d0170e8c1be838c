"""Maximum likelihood for flows: minibatches, patience, checkpoints that survive a kill, a guard against NaN."""

from __future__ import annotations

import functools
import hashlib
import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from .._errors import ArgumentError, NotFiniteWarning
from .._progress import Tracker, tracking
from . import _checkpoint
from ._arguments import whole
from ._density import probes
from ._flow import Flow


@dataclass(frozen=True, eq=False)
class Fit:
    """What training gave. `flow`: the best one by validation, or the last where nothing was held out.

    `losses` and `validation` (epochs,): mean negative log-density, in nats per point. `best_epoch` counts from 0.
    `stopped`: "epochs" (all were done), "patience", or "not finite".
    """

    flow: Flow
    losses: np.ndarray
    validation: np.ndarray
    best_epoch: int
    stopped: str

    def __str__(self) -> str:
        shown = self.validation if len(self.validation) else self.losses
        if not len(shown):
            return "no epoch was completed"
        what = "validation" if len(self.validation) else "training"
        return (
            f"{len(self.losses)} epochs, stopped by {self.stopped}; {what} loss {shown[0]:.4f} -> "
            f"{shown[self.best_epoch]:.4f} at epoch {self.best_epoch}"
        )


class _State(NamedTuple):
    """All that changes: parameters (one vector), the optimiser's state, the best parameters, whether all is finite."""

    vector: Any
    optimiser: Any
    best: Any
    alive: Any
    key: Any


def fit(
    flow: Flow,
    data: Any,
    *,
    key: jax.Array,
    epochs: int = 100,
    batch_size: int = 100,
    learning_rate: Any = 1e-3,
    optimiser: Any = None,
    validation: float = 0.1,
    patience: int | None = 10,
    checkpoint: str | Path | None = None,
    every: int = 1,
    progress: bool | None = None,
) -> Fit:
    """Fit a flow to data (points, *flow.shape) by maximum likelihood; gives a `Fit` whose `flow` is the trained one.

    A share `validation` of the points is held out; training stops after `patience` epochs (None: never) without a
    better loss on it. `optimiser` is any of optax's, adam with `learning_rate` (a number or a schedule) by default; it
    sees all parameters as one vector, so that a step costs a few array operations however many layers there are.
    Layers that start from data (`ActNorm`) are set to the first batch.

    With `checkpoint`, the whole state is written there every `every` epochs, and a run that finds the file goes on from
    it, bit for bit as if it had never stopped. A step whose loss or gradient is not finite is not taken: training ends
    with the last good state and a `NotFiniteWarning`. `progress` None shows a bar where stderr is a terminal.

    Raises ArgumentError where an argument does not fit, or the checkpoint is damaged or of another run.
    """
    import optax

    flow, points, batch_size = _checked(flow, data, batch_size, epochs, validation, every, patience)
    optimiser = optax.adam(learning_rate) if optimiser is None else optimiser
    train, held = _divided(points, key, validation)
    batch_size = min(batch_size, len(train))
    flow = flow.initialised(train[:batch_size])
    flow.plan(train[0])  # compared with plain AD before anything relies on it
    programs, vector = prepared(flow, optimiser, batch_size)
    state = _State(vector, optimiser.init(vector), vector, jnp.array(True), jax.random.key_data(key))
    record: dict[str, Any] = {"losses": [], "validation": [], "best_epoch": 0, "stopped": ""}
    run = _description(points, key, batch_size, validation, vector, jax.tree_util.tree_structure(state))
    path = None if checkpoint is None else Path(checkpoint)
    if path is not None and (found := _checkpoint.load(path, state, run)) is not None:
        state, record = found
    if record["stopped"] == "epochs" and len(record["losses"]) < epochs:
        record["stopped"] = ""  # more epochs are asked for than at the time
    batches = len(train) // batch_size
    with tracking(progress) as tracker:
        for epoch in range(len(record["losses"]), epochs):
            if record["stopped"]:
                break
            tracker.begin(_said(epoch, record), epochs * batches, epoch * batches)
            state = _epoch(state, record, programs, train, held, jax.random.fold_in(key, epoch), tracker)
            _judge(record, epochs, patience)
            if path is not None and (record["stopped"] or (epoch + 1) % every == 0):
                _checkpoint.save(path, state, record, run)
    if record["stopped"] == "not finite":
        _warn(len(record["losses"]), "best" if len(held) and record["validation"] else "last good")
    best = programs.whole(state.best if len(held) else state.vector)
    losses, checks = np.array(record["losses"]), np.array(record["validation"])
    return Fit(best, losses, checks, record["best_epoch"], record["stopped"] or "epochs")


def prepared(flow: Flow, optimiser: Any, batch_size: int) -> tuple[Programs, jax.Array]:
    """The compiled step, and the parameters as one vector that it may take for its own."""
    params, static = eqx.partition(flow, eqx.is_inexact_array)
    start, unravel = ravel_pytree(params)
    whole_flow = functools.partial(_whole, unravel, static)
    return Programs(whole_flow, optimiser, batch_size), jnp.array(start, copy=True)


def _whole(unravel: Any, static: Any, vector: Any) -> Any:
    return eqx.combine(unravel(vector), static)


def _epoch(state: _State, record: dict[str, Any], programs: Programs, train: Any, held: Any, key: Any,
           tracker: Tracker) -> _State:  # fmt: skip
    """One pass over the data, and the loss on what was held out."""
    for_order, for_steps, for_check = jax.random.split(key, 3)
    order = jax.random.permutation(for_order, len(train))
    vector, optimiser, best, alive, base = state
    best = jnp.copy(best)  # the step gives its buffers of parameters back to be used again
    losses = []
    for k in range(len(train) // programs.batch_size):
        vector, optimiser, loss, alive = programs.step(vector, optimiser, alive, train, order, k, for_steps)
        losses.append(loss)
        tracker.advance()
        tracker.show(tracker.phase)
    if not bool(alive):
        record["stopped"] = "not finite"
        return _State(vector, optimiser, best, alive, base)
    record["losses"].append(float(jnp.mean(jnp.stack(losses))))
    if not len(held):
        record["best_epoch"] = len(record["losses"]) - 1
    else:
        loss = float(programs.check(vector, held, for_check))
        if loss < min(record["validation"], default=math.inf):
            best = jnp.copy(vector)
            record["best_epoch"] = len(record["losses"]) - 1
        record["validation"].append(loss)
    return _State(vector, optimiser, best, alive, base)


class Programs:
    """The compiled step and the compiled check. `whole` makes a flow of a vector of parameters."""

    def __init__(self, whole_flow: Any, optimiser: Any, batch_size: int) -> None:
        self.whole, self.optimiser, self.batch_size = whole_flow, optimiser, batch_size
        self.step = jax.jit(self._step, donate_argnums=(0, 1))
        self.check = jax.jit(self._loss)

    def _loss(self, vector: Any, batch: Any, key: Any) -> Any:
        flow = self.whole(vector)
        return -jnp.mean(flow.log_prob(batch, key=None if probes(flow.transform) is None else key))

    def _step(self, vector: Any, state: Any, alive: Any, train: Any, order: Any, k: Any, key: Any) -> Any:
        picked = jax.lax.dynamic_slice_in_dim(order, k * self.batch_size, self.batch_size)
        key = jax.random.fold_in(key, k)
        loss, slope = jax.value_and_grad(self._loss)(vector, train[picked], key)
        with jax.numpy_dtype_promotion("standard"):  # optax mixes counts with numbers
            change, state = self.optimiser.update(slope, state, vector)
        alive = alive & jnp.isfinite(loss) & jnp.all(jnp.isfinite(slope))
        return vector + jnp.where(alive, change, 0).astype(vector.dtype), state, loss, alive


def _judge(record: dict[str, Any], epochs: int, patience: int | None) -> None:
    """Whether, and why, training ends after the epoch just recorded."""
    done = len(record["losses"])
    if record["stopped"]:
        return
    if patience is not None and record["validation"] and done - 1 - record["best_epoch"] >= patience:
        record["stopped"] = "patience"
    elif done >= epochs:
        record["stopped"] = "epochs"


def _divided(points: jax.Array, key: jax.Array, share: float) -> tuple[jax.Array, jax.Array]:
    """(points to train on, points held out), drawn by the key."""
    held = round(share * len(points))
    mixed = points[jax.random.permutation(key, len(points))]
    return mixed[: len(points) - held], mixed[len(points) - held :]


def _description(points: Any, key: Any, batch_size: int, share: float, vector: Any, structure: Any) -> dict[str, Any]:
    """What a checkpoint must have in common with the run that goes on from it."""
    return {
        "data": hashlib.sha256(np.asarray(points).tobytes()).hexdigest(),
        "key": np.asarray(jax.random.key_data(key)).tolist(),
        "batch_size": batch_size,
        "validation": share,
        "flow": f"{vector.size} parameters of {vector.dtype}",
        "optimiser": str(structure),
    }


def _checked(flow: Flow, data: Any, batch_size: int, epochs: int, validation: float, every: int,
             patience: int | None) -> tuple[Flow, jax.Array, int]:  # fmt: skip
    if not isinstance(flow, Flow):
        raise ArgumentError(f"flow: got {type(flow).__name__}, expected a jm.flows.Flow")
    whole("epochs", epochs), whole("every", every)
    if patience is not None:
        whole("patience", patience)
    if not 0 <= validation < 1:
        raise ArgumentError(f"validation: got {validation!r}, expected a share of the data, from 0 to below 1")
    points, batch = flow.points(data, "data")
    if len(batch) != 1 or len(points) < 2:
        raise ArgumentError(f"data: got shape {np.shape(data)}, expected at least two points, (points, *{flow.shape})")
    bad = ~np.isfinite(np.asarray(points)).reshape(len(points), -1).all(axis=1)
    if bad.any():
        first = int(bad.argmax())
        raise ArgumentError(f"data: {bad.sum()} points are not finite, the first is number {first}; remove them")
    return flow, points, whole("batch_size", batch_size)


def _said(epoch: int, record: dict[str, Any]) -> str:
    shown = record["validation"] or record["losses"]
    return f"epoch {epoch}" + (f", loss {shown[-1]:.4f}" if shown else "")


def _warn(epoch: int, kept: str) -> None:
    warnings.warn(
        f"fit: the loss or its gradient was not finite in epoch {epoch}; training ended there and the {kept} "
        "parameters are returned. A smaller learning_rate or optax.clip_by_global_norm usually helps",
        NotFiniteWarning,
        stacklevel=3,
    )
