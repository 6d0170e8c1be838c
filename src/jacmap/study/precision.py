"""Mixed precision: the same gradient with arrays in half precision and sums in single precision, and what is lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._data_path import DataPath, Stretch, Values, data_path
from .._dispatch import for_tensors_too
from .._errors import ArgumentError
from .._evaluate import wide_sums

DTYPES = ("float16", "bfloat16")
RARE = 1e-3  # share of entries lost to underflow that a loss scale may leave
SHOWN = 12


@dataclass(frozen=True)
class SegmentError:
    """One segment in half precision. Errors are relative, in the Euclidean norm, against f at the arguments as given.

    `value`: of the state it hands on; `cotangent`: of the gradient with respect to that state; `gradient`: with respect
    to the segment's parameters (None without any). `overflow`: share of state and gradient entries that are infinite or
    NaN; `underflow`: share of nonzero ones that come out as zero. Gradients at loss scale 1.
    """

    name: str
    value: float
    cotangent: float
    gradient: float | None
    overflow: float
    underflow: float


@dataclass(frozen=True)
class DtypeError:
    """All segments in one dtype. `trials`: (loss scale, overflow share, underflow share, gradient error) as measured.

    `scale`: the smallest power of two that leaves no overflow and the fewest zeros, up to 0.1 % (None where every one
    overflows); `error`, `plain`: the error of all parameters' gradients with it, and at scale 1. `half`: share of the
    floats handed on that are in this dtype at all.
    """

    dtype: str
    segments: tuple[SegmentError, ...]
    trials: tuple[tuple[float, float, float, float], ...]
    scale: float | None
    error: float
    plain: float
    half: float


@dataclass(frozen=True, eq=False)
class Precision:
    """What `jm.precision` found, one `DtypeError` per dtype: ``study["float16"]``."""

    name: str
    reference: str
    dtypes: tuple[DtypeError, ...]

    def __getitem__(self, dtype: str) -> DtypeError:
        for found in self.dtypes:
            if found.dtype == dtype:
                return found
        raise ArgumentError(f"dtype: got {dtype!r}, expected one of {', '.join(d.dtype for d in self.dtypes)}")

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, JSON-able; None for what is not finite."""
        return {
            "name": self.name,
            "reference": self.reference,
            "dtypes": [
                {
                    "dtype": d.dtype, "scale": d.scale, "error": _finite(d.error), "plain": _finite(d.plain),
                    "half": d.half, "trials": [list(map(_finite, trial)) for trial in d.trials],
                    "segments": [
                        {
                            "name": s.name, "value": _finite(s.value), "cotangent": _finite(s.cotangent),
                            "gradient": _finite(s.gradient), "overflow": s.overflow, "underflow": s.underflow,
                        }
                        for s in d.segments
                    ],
                }
                for d in self.dtypes
            ],
        }  # fmt: skip

    def __str__(self) -> str:
        lines = [f"The gradient of {self.name} in half precision with single-precision sums, against {self.reference}"]
        for found in self.dtypes:
            lines += ["", *_told(found)]
        return "\n".join(lines)


@for_tensors_too()
def precision(
    f: Callable[..., Any], *args: Any, argnums: int | Sequence[int] = 0, dtype: str | Sequence[str] = DTYPES
) -> Precision:
    """What the gradient of a scalar loss f loses when its arrays are float16 or bfloat16.

    All floating-point arguments are cast and f is read again with them; matrix products take half-precision operands,
    add up in float32 and round once (Micikevicius et al., "Mixed precision training", 2018), in the backward pass too.
    What f makes itself in another dtype (``jnp.float32`` literals, arrays that it closes over) stays as it is. The
    reference is f at the arguments as given. The loss scale is found by trying powers of two. Runs f once per trial,
    and holds all states. Raises `ArgumentError` for a dtype it does not know and for an f that is not scalar.
    """
    wanted = (dtype,) if isinstance(dtype, str) else tuple(dtype)
    if unknown := [name for name in wanted if name not in DTYPES]:
        raise ArgumentError(f"dtype: got {unknown[0]!r}, expected one of {', '.join(map(repr, DTYPES))}")
    args = jax.tree_util.tree_map(lambda leaf: jnp.asarray(leaf) if hasattr(leaf, "dtype") else leaf, args)
    path = data_path(f, args, argnums)
    name = getattr(f, "__name__", "f")
    outputs = path.stretches[-1].made
    if len(outputs) != 1 or outputs[0].shape:
        raise ArgumentError(f"{name}: returned shape {outputs[0].shape}, expected one scalar, a loss to differentiate")
    exact = _Passes(path, args)(1.0)
    found = tuple(_in_dtype(f, args, argnums, kind, path, exact) for kind in wanted)
    return Precision(name, str(jnp.result_type(outputs[0].dtype)), found)


def cast(args: Any, dtype: str) -> Any:
    """The pytree with its floating-point arrays in another dtype."""

    def one(leaf: Any) -> Any:
        floating = hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating)
        return leaf.astype(dtype) if floating else leaf

    return jax.tree_util.tree_map(one, args)


@dataclass(frozen=True)
class _Found:
    """Float arrays in double precision: the states, their cotangents, the gradients of each segment's parameters."""

    states: list[list[np.ndarray]]
    cotangents: list[list[np.ndarray]]
    gradients: list[list[np.ndarray]]


class _Step:
    """A segment as a function of the floats of its state and of its parameters."""

    def __init__(self, stretch: Stretch, state: Values, operands: Values, moving: list[bool]):
        self.stretch, self.state, self.operands, self.moving = stretch, state, operands, moving
        self.parameters = [value for value, flag in zip(operands, moving, strict=True) if flag]

    def __call__(self, floats: list[Any], parameters: list[Any]) -> tuple[list[Any], Values]:
        given, own = iter(floats), iter(parameters)
        state = tuple(next(given) if _is_float(value) else value for value in self.state)
        operands = tuple(
            next(own) if flag else value for value, flag in zip(self.operands, self.moving, strict=True)
        )
        out = self.stretch.run(state, operands, bind=wide_sums)
        return _floats(out), out


class _Passes:
    """Forward and backward pass, segment by segment, compiled once; called with a loss scale."""

    def __init__(self, path: DataPath, args: tuple[Any, ...]):
        self.path = path
        self.operands = jax.jit(path.operands)(args)
        self.run = jax.jit(self._run)

    def _run(self, operands: list[Values], scale: Any) -> tuple[Any, Any, Any]:
        state: Values = ()
        states, pulls = [], []
        for stretch, own in zip(self.path.stretches, operands, strict=True):
            moving = [self.path.graph.values[v].active for v in stretch.read]
            step = _Step(stretch, state, own, moving)
            _, pull, state = jax.vjp(step, _floats(step.state), step.parameters, has_aux=True)
            pulls.append(pull)
            states.append(_floats(state))
        along = [jnp.full_like(value, 1) * scale.astype(value.dtype) for value in _floats(state)]
        cotangents, gradients = [], []
        for pull in reversed(pulls):
            cotangents.append(along)
            along, own = pull(along)
            gradients.append(own)
        return states, cotangents[::-1], gradients[::-1]

    def __call__(self, scale: float) -> _Found:
        states, cotangents, gradients = self.run(self.operands, jnp.asarray(scale, jnp.float32))
        states, cotangents, gradients = jax.tree_util.tree_map(_double, (states, cotangents, gradients))
        down = jax.tree_util.tree_map(lambda leaf: leaf / scale, (cotangents, gradients))
        return _Found(states, *down)


def _double(leaf: Any) -> np.ndarray:
    return np.asarray(leaf if leaf.dtype in (jnp.float32, jnp.float64) else leaf.astype(jnp.float32), np.float64)


def _floats(values: Sequence[Any]) -> list[Any]:
    return [value for value in values if _is_float(value)]


def _is_float(value: Any) -> bool:
    return bool(jnp.issubdtype(value.dtype, jnp.floating))


def _in_dtype(
    f: Callable[..., Any], args: tuple[Any, ...], argnums: int | Sequence[int], dtype: str, path: DataPath,
    exact: _Found,
) -> DtypeError:
    low = cast(args, dtype)
    half = data_path(f, low, argnums)
    if len(half.stretches) != len(path.stretches):
        raise ArgumentError(
            f"f: {getattr(f, '__name__', 'f')} does other operations in {dtype} ({len(half.stretches)} segments, not "
            f"{len(path.stretches)}): it asks for the dtype of its arguments; compare the two gradients as a whole"
        )
    passes = _Passes(half, low)
    top = 15 if dtype == "float16" else 24  # 2**16 is infinite in float16
    trials, found = [], {}
    for power in range(0, top + 1, 3):
        scale = 2.0**power
        found[scale] = passes(scale)
        over, under = _lost(exact, found[scale], forward=False)
        trials.append((scale, over, under, _distance(found[scale].gradients, exact.gradients)))
    fitting = [trial for trial in trials if not trial[1] and np.isfinite(trial[3])]
    best = None
    if fitting:
        least = max(min(trial[2] for trial in fitting), RARE)
        best = next(trial for trial in fitting if trial[2] <= least)
    kinds = [kind for stretch in half.stretches for kind in stretch.made if jnp.issubdtype(kind.dtype, jnp.floating)]
    return DtypeError(
        dtype,
        tuple(_row(k, stretch.name, found[1.0], exact) for k, stretch in enumerate(half.stretches)),
        tuple(trials),
        best[0] if best else None,
        best[3] if best else float("nan"),
        trials[0][3],
        sum(kind.size for kind in kinds if kind.dtype == dtype) / max(sum(kind.size for kind in kinds), 1),
    )


def _row(k: int, name: str, low: _Found, exact: _Found) -> SegmentError:
    def only(found: _Found) -> _Found:
        return _Found(found.states[k : k + 1], found.cotangents[k : k + 1], found.gradients[k : k + 1])

    a, b = only(low), only(exact)
    over, under = _lost(b, a, forward=True)
    gradient = _distance(a.gradients, b.gradients) if any(map(np.any, b.gradients[0])) else None
    return SegmentError(
        name, _distance(a.states, b.states), _distance(a.cotangents, b.cotangents), gradient, over, under
    )


def _flat(parts: list[list[np.ndarray]]) -> np.ndarray:
    return np.concatenate([np.zeros(0), *(leaf.ravel() for leaves in parts for leaf in leaves)])


def _distance(low: list[list[np.ndarray]], exact: list[list[np.ndarray]]) -> float:
    """‖low − exact‖ / ‖exact‖."""
    a, b = _flat(low), _flat(exact)
    size = float(np.linalg.norm(b))
    with np.errstate(invalid="ignore", over="ignore"):
        return float(np.linalg.norm(a - b)) / size if size else float(np.linalg.norm(a))


def _lost(exact: _Found, low: _Found, forward: bool) -> tuple[float, float]:
    """(share of entries that are not finite, share of nonzero ones that became zero), of states and gradients."""
    names = ("states", "cotangents", "gradients") if forward else ("cotangents", "gradients")
    a = np.concatenate([_flat(getattr(low, name)) for name in names])
    b = np.concatenate([_flat(getattr(exact, name)) for name in names])
    nonzero = b != 0
    return float(np.mean(~np.isfinite(a))), float(np.sum((a == 0) & nonzero) / max(int(nonzero.sum()), 1))


def _finite(number: float | None) -> float | None:
    return None if number is None or not np.isfinite(number) else float(number)


def _told(found: DtypeError) -> list[str]:
    told = [f"{found.dtype}: the parameters' gradient is off by {found.plain:.1e} of its length without a loss scale."]
    if found.half < 0.999:
        told.append(f"  Only {found.half:.0%} of the floats handed on are {found.dtype}: f itself makes others wider.")
    over, under = found.trials[0][1:3]
    told.append(f"  Of the entries of gradients {over:.2%} overflow, {under:.2%} are lost as zeros.")
    if found.scale is None:
        told.append("  Every loss scale overflows: the values themselves are too large for this dtype.")
    elif found.scale == 1:
        told.append("  No loss scale is needed.")
    else:
        under = next(trial[2] for trial in found.trials if trial[0] == found.scale)
        told.append(
            f"  With the loss times {found.scale:g} (tried from 1 up) {under:.2%} are lost, none overflows; error "
            f"{found.error:.1e}."
        )
    rows = [
        [str(k), s.name[:40], f"{s.value:.0e}", f"{s.cotangent:.0e}", "" if s.gradient is None else f"{s.gradient:.0e}",
         f"{s.overflow:.1%}", f"{s.underflow:.1%}"]
        for k, s in enumerate(found.segments)
    ]  # fmt: skip
    heads = ["", "segment", "value", "cotangent", "gradient", "overflow", "underflow"]
    widths = [max(len(row[k]) for row in [heads, *rows]) for k in range(len(heads))]
    shown = [heads, *rows[:SHOWN]]
    for row in shown:
        cells = (c.ljust(w) if k < 2 else c.rjust(w) for k, (c, w) in enumerate(zip(row, widths, strict=True)))
        told.append("  " + "  ".join(cells).rstrip())
    if len(rows) > SHOWN:
        told.append(f"  ... and {len(rows) - SHOWN} more segments")
    return told
