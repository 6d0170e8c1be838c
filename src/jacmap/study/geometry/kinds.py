"""Special cases of a Jacobian, recognised: a table of what is measured, where it may be asked, and what it means."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

# Roundings, in units of eps √max(m, n), that a property may be off by.
ROUNDINGS = 100.0

COARSEST = 1e-3  # half precision must not take everything for an identity

HERE, NEARBY, EVERYWHERE = "here", "nearby", "everywhere"


@dataclass(frozen=True)
class Kind:
    """A property that J has, with its evidence.

    `evidence` says what was measured and below which bound it stays, `value` is the figure itself (NaN where there is
    none, as for what a pattern shows); `meaning` says what follows for f. `scope` is "everywhere" where the graph
    of f shows it, "nearby" where it was also measured at random points close by, "here" where it holds at the point but
    not (or not measurably) there. `follows_from`: other kinds found that include this one.
    """

    name: str
    evidence: str
    meaning: str
    scope: str
    follows_from: tuple[str, ...] = ()
    value: float = math.nan

    def __str__(self) -> str:
        return f"{self.name}: {self.evidence} ({SCOPES[self.scope]})"

    def to_dict(self) -> dict[str, Any]:
        """Plain words."""
        from .words import plain

        return plain(self)


SCOPES = {
    HERE: "at this point only",
    NEARBY: "here and at random points nearby",
    EVERYWHERE: "everywhere: the graph of f shows it",
}


@dataclass(frozen=True)
class Rule:
    """`measure(A)` is how far A (m×n, its largest entry `size` > 0) is from the property, relative to what it measures.

    `of` says of which shapes it is asked: "any", "square" (m = n > 1), "rows" (n > 1). `shown` names the measure.
    """

    name: str
    of: str
    measure: Callable[[np.ndarray], float]
    shown: str
    meaning: str
    follows_from: tuple[str, ...] = ()


def _largest(matrix: np.ndarray) -> float:
    return float(np.abs(matrix).max(initial=0.0))


def _off(part: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], float]:
    """The largest entry of a part that should vanish, relative to the largest of all."""
    return lambda A: _largest(part(A)) / _largest(A)


def _orthogonal(A: np.ndarray) -> float:
    return _largest(A.T @ A - np.eye(A.shape[1]))


def _turning(sign: int) -> Callable[[np.ndarray], float]:
    return lambda A: _orthogonal(A) if np.linalg.slogdet(A)[0] * sign > 0 else np.inf


def _conformal(A: np.ndarray) -> float:
    gram = A.T @ A
    square = np.trace(gram) / len(gram)
    return _largest(gram - square * np.eye(len(gram))) / square


def _permutation(A: np.ndarray) -> float:
    rounded = np.round(A)
    if not (np.isin(rounded, (0, 1)).all() and (rounded.sum(0) == 1).all() and (rounded.sum(1) == 1).all()):
        return np.inf
    return _largest(A - rounded)


def _stochastic(A: np.ndarray) -> float:
    return max(float(-A.min()), _largest(A.sum(1) - 1), 0.0)


def _volume(A: np.ndarray) -> float:
    sign, log = np.linalg.slogdet(A)
    return float(abs(np.expm1(log))) if sign and log < 1 else np.inf


_SQUARE_TURNS = ("identity", "rotation", "reflection", "permutation")

RULES = (
    Rule("identity", "square", lambda A: _largest(A - np.eye(len(A))), "‖J − I‖",
         "every small change passes unchanged"),
    Rule("permutation", "square", _permutation, "distance to 0 and 1", "inputs change places", ("identity",)),
    Rule("diagonal", "square", _off(lambda A: A - np.diag(np.diag(A))), "off the diagonal",
         "each output follows its own input alone", ("identity",)),
    Rule("lower triangular", "square", _off(lambda A: np.triu(A, 1)), "above the diagonal",
         "output i depends on inputs up to i: det J is the product of the diagonal", ("identity", "diagonal")),
    Rule("upper triangular", "square", _off(lambda A: np.tril(A, -1)), "below the diagonal",
         "output i depends on inputs from i on: det J is the product of the diagonal", ("identity", "diagonal")),
    Rule("rotation", "square", _turning(1), "‖JᵀJ − I‖, det J > 0", "lengths, angles and orientation are kept",
         ("identity",)),
    Rule("reflection", "square", _turning(-1), "‖JᵀJ − I‖, det J < 0", "lengths and angles are kept, mirrored"),
    Rule("orthogonal", "square", _orthogonal, "‖JᵀJ − I‖", "lengths and angles are kept", _SQUARE_TURNS),
    Rule("conformal", "square", _conformal, "‖JᵀJ/c − I‖", "angles are kept: small circles stay circles",
         (*_SQUARE_TURNS, "orthogonal")),
    Rule("volume-preserving", "square", _volume, "||det J| − 1|", "volumes are kept", (*_SQUARE_TURNS, "orthogonal")),
    Rule("projection", "square", _off(lambda A: A @ A - A), "‖J² − J‖/‖J‖", "applying J twice changes nothing more",
         ("identity",)),
    Rule("symmetric", "square", _off(lambda A: A - A.T), "‖J − Jᵀ‖/‖J‖",
         "where it holds all around, f is the gradient of a potential", ("identity", "diagonal")),
    Rule("antisymmetric", "square", _off(lambda A: A + A.T), "‖J + Jᵀ‖/‖J‖",
         "the flow along f turns without stretching"),
    Rule("divergence-free", "square", lambda A: abs(float(np.trace(A))) / (_largest(A) * len(A) ** 0.5),
         "|trace J|/(√n ‖J‖)", "the flow along f keeps volumes", ("antisymmetric",)),
    Rule("stochastic rows", "rows", _stochastic, "none negative, |sum of a row − 1|",
         "each output moves by a weighted mean of the inputs' moves", ("identity", "permutation")),
    Rule("rows that sum to zero", "rows", lambda A: _largest(A.sum(1)) / _largest(A), "|sum of a row|/‖J‖",
         "adding the same number to every input changes nothing"),
    Rule("columns that sum to zero", "columns", lambda A: _largest(A.sum(0)) / _largest(A), "|sum of a column|/‖J‖",
         "the sum of the outputs does not change"),
)  # fmt: skip

ASKED: dict[str, Callable[[int, int], bool]] = {
    "square": lambda m, n: m == n > 1,
    "rows": lambda m, n: n > 1,
    "columns": lambda m, n: m > 1,
}


def measured(
    matrix: np.ndarray, eps: float, constant: bool, nearby: Callable[[], list[np.ndarray]]
) -> tuple[Kind, ...]:
    """The kinds of a finite matrix (m, n) that is known to `eps`.

    `nearby()` gives J at points close by, which are not asked where J is known to be `constant`.
    """

    def scope(holds: Callable[[np.ndarray], bool]) -> str:
        if constant:
            return EVERYWHERE
        return NEARBY if nearby() and all(holds(other) for other in nearby()) else HERE

    m, n = matrix.shape
    tolerance = min(ROUNDINGS * eps * max(m, n) ** 0.5, max(COARSEST, 4 * eps))
    if not matrix.any():
        where = scope(lambda other: not other.any())
        return (Kind("zero", "every entry is 0", "nothing moves to first order", where),)
    found = []
    for rule in RULES:
        if ASKED[rule.of](m, n) and _holds(rule, tolerance, matrix):
            where = scope(partial(_holds, rule, tolerance))
            evidence = f"{rule.shown} below {tolerance:.0e}"
            found.append(Kind(rule.name, evidence, rule.meaning, where, rule.follows_from, rule.measure(matrix)))
    return tuple(found)


def _holds(rule: Rule, tolerance: float, matrix: np.ndarray) -> bool:
    return bool(matrix.any()) and rule.measure(matrix) <= tolerance


def from_pattern(pattern: Any) -> tuple[Kind, ...]:
    """The kinds that the pattern (m, n) of J alone shows, at any point."""
    m, n = pattern.shape
    if m != n or n < 2:
        return ()
    entries = pattern.tocsr().tocoo()
    lower, upper = bool((entries.row > entries.col).any()), bool((entries.row < entries.col).any())
    rules = {rule.name: rule for rule in RULES}
    names = {(False, False): "diagonal", (True, False): "lower triangular", (False, True): "upper triangular"}
    name = names.get((lower, upper))
    if name is None or not entries.nnz:
        return ()
    evidence = f"none of the {entries.nnz} entries that can be nonzero lies {rules[name].shown}"
    return (Kind(name, evidence, rules[name].meaning, EVERYWHERE, rules[name].follows_from),)


def together(*groups: Iterable[Kind]) -> tuple[Kind, ...]:
    """Each kind once, the first mention counts; `follows_from` narrowed to what was found."""
    found = {kind.name: kind for group in reversed(groups) for kind in group}
    order = dict.fromkeys(kind.name for group in groups for kind in group)
    return tuple(
        replace(kind, follows_from=tuple(name for name in kind.follows_from if name in found))
        for kind in (found[name] for name in order)
    )
