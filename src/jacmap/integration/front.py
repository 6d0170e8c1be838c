"""`integrate`: from arguments to an examined region, to a method, to an answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .._errors import ArgumentError
from .._progress import Tracker, tracking
from .cubature import cubature
from .examine import SAMPLE, examine_faces, examine_map, sample
from .gauss import gauss
from .importance import Draws, importance
from .integral import Integral, Outcome
from .peak import Peak, find_peak
from .pullback import Pullback, Stretch
from .regions import Region
from .sampling import monte_carlo, quasi
from .tolerance import Goal
from .words import place

Array = np.ndarray
Method = Callable[[Pullback, Goal, Peak], Outcome]

# name -> (how, evaluations at most, is its error statistical?, dimensions up to which "auto" tries it)
METHODS: dict[str, tuple[Method, int, bool, int]] = {
    "gauss": (gauss, 2**22, False, 12),
    "cubature": (cubature, 2**20, False, 4),
    "quasi": (quasi, 2**18, True, 21201),
    "monte carlo": (monte_carlo, 2**18, True, 0),
}
OVERLAPS = ("refuse", "count", "trust")
FACED = 64  # dimensions up to which the faces are examined
FEW = 8.0  # sample points carrying the integral below which that is told
DISAGREEMENT = 6  # standard errors by which a rule may miss the sample before it is distrusted


def integrate(
    f: Callable[[Any], Any],
    over: Region,
    *,
    method: str = "auto",
    proposal: Any = None,
    rtol: float | None = None,
    atol: float = 0.0,
    evaluations: int | None = None,
    log: bool = False,
    overlaps: str = "refuse",
    seed: int = 0,
    progress: bool | None = None,
) -> Integral:
    """∫ f(x) dx over a region: that of f(map(u))·|det J(u)| over its box, the determinant found from the map.

    `f` takes a point (of the shape that the map returns) to a number or a real array; a JAX function, or one of NumPy
    that is then called point by point. `over` is a `Box`, `Mapped`, `Spherical`, `Ball`, `Simplex` of `jm.integration`,
    or any object with `box`, `map` and `proof`.

    `method`: "gauss" (product Gauss, nodes chosen per axis), "cubature" (adaptive, SciPy), "quasi" (randomised Sobol),
    "monte carlo", or "auto", which tries the first three in turn; `proposal` (with `log_prob` and `sample`) chooses
    importance sampling instead, its points being coordinates of the region's box. `rtol`, `atol`: the error asked for
    relative to the largest entry, and absolute; by default rtol is 1e-8 (single precision: 1e-5) for the rules, and
    the statistical methods use all `evaluations`. ``log=True``: f returns log f of an f ≥ 0, and the answer is log ∫ f.

    A map that is not known to be one-to-one is tested first: a fold (det J changes sign), or two inner points with one
    image, raise `RegionError` with the place, unless ``overlaps="count"``, which counts each point as often as it is
    met; ``"trust"`` skips the test. `RegionError` also where the integrand is not finite or diverges at a face.
    `ArgumentError` where an argument is not what it should be. `progress`: None shows long runs on a terminal.
    """
    _checked(f, over, method, proposal, rtol, atol, evaluations, overlaps)
    with tracking(progress) as tracker:
        g = Pullback(f, over, None if proposal is not None else Stretch.plain(over.box), log)
        if proposal is not None:
            return _by_importance(g, Draws(proposal, g, seed), (rtol, atol, evaluations), overlaps, seed, tracker)
        tracker.begin("examining the region")
        points = sample(g, seed)
        told = examine_map(g, points, overlaps, seed)
        notes: list[str] = []
        if g.size <= FACED:
            g.stretch, notes = examine_faces(g, seed)
            g = _again(g, notes)
        g.notes += notes
        if log:
            logs = g.logs(points)
            if not np.isfinite(logs).any():
                raise ArgumentError(f"f: log f is −infinity or NaN at all of {len(points)} points, expected a number")
            g.shift = float(np.max(logs[np.isfinite(logs)]))

        def goal(name: str) -> Goal:
            _, most, statistical, _ = METHODS[name]
            tolerance = rtol if rtol is not None else 0.0 if statistical else 1e-8 if g.eps < 1e-10 else 1e-5
            stops = not statistical or rtol is not None or atol > 0
            return Goal(tolerance, atol, evaluations or most, stops, seed, tracker)

        values = g.values(points)
        peak = find_peak(g, points, values, seed)
        if method != "auto":
            name, outcome = method, METHODS[method][0](g, goal(method), peak)
        else:
            name, outcome = _ladder(g, values, peak, goal)
        if peak.carriers < FEW:
            g.notes.append(_concentrated(g, peak))
        return _answer(g, name, outcome, told)


def _ladder(g: Pullback, values: Array, peak: Peak, goal: Callable[[str], Goal]) -> tuple[str, Outcome]:
    """The first method that reaches the tolerance and agrees with the sample's values; else the last one's answer."""
    rough, spread = values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(len(values))
    best: tuple[str, Outcome] | None = None
    for name, (run, _, _, largest) in METHODS.items():
        if g.size > largest:
            continue
        if name == "quasi" and best is not None and best[0] == "cubature":
            break  # in few dimensions sampling does not mend what adaptive cubature leaves
        outcome = run(g, goal(name), peak)
        best = name, outcome
        blind = peak.carriers < FEW  # the sample says nothing against
        if outcome.converged and (
            blind or np.all(np.abs(outcome.value - rough) <= DISAGREEMENT * spread + outcome.error)
        ):
            return best
        g.notes += [*outcome.notes, *(() if not outcome.converged else (_missed(name, outcome, rough, spread),))]
    assert best is not None
    return best


def _missed(name: str, outcome: Outcome, rough: Array, spread: Array) -> str:
    k = int(np.argmax(np.abs(outcome.value - rough) - DISAGREEMENT * spread))
    return f"{name} gave {outcome.value[k]:.6g}, a random sample {rough[k]:.6g} ± {spread[k]:.1g}: not believed"


def _concentrated(g: Pullback, peak: Peak) -> str:
    at = place(g.coordinates(peak.at), g.geometry(peak.at[None])[0][0])
    return (
        f"about {peak.carriers:.0f} of {peak.size} sample points carry the integral, near {at}: other peaks as narrow "
        "may be missed. A smaller region, or a proposal, serves better"
    )


def _by_importance(g: Pullback, draws: Draws, tolerances: tuple[float | None, float, int | None],
                   overlaps: str, seed: int, tracker: Tracker) -> Integral:  # fmt: skip
    rtol, atol, evaluations = tolerances
    points = np.empty((0, g.size))
    if g.region.proof is None and overlaps != "trust":
        drawn, _, within = draws(SAMPLE)
        points = drawn[within]
    told = examine_map(g, points, overlaps, seed)
    goal = Goal(rtol or 0.0, atol, evaluations or 2**14, rtol is not None or atol > 0, seed, tracker)
    return _answer(g, "importance", importance(g, draws, goal), told)


def _again(g: Pullback, notes: list[str]) -> Pullback:
    """The same integrand in the stretched coordinates; as it was where nothing is stretched."""
    if not notes:
        return g
    stretched = Pullback(g.f, g.region, g.stretch, g.log)
    stretched.evaluations, stretched.notes = g.evaluations, g.notes
    return stretched


def _answer(g: Pullback, name: str, found: Outcome, told: str) -> Integral:
    value, error, spread = found.value, found.error, found.standard_error
    notes = [*g.notes, *(note for note in found.notes if note not in g.notes)]
    if g.log:
        with np.errstate(divide="ignore", invalid="ignore"):
            error, spread = error / np.abs(value), None if spread is None else spread / np.abs(value)
            value = np.log(value) + g.shift if found.log_value is None else np.asarray([found.log_value])
    if g.eps > 1e-10:
        notes.append("single precision: about 1e-6 can be had; jax.config.update('jax_enable_x64', True) for more")

    def shaped(flat: Array) -> Any:
        return flat.reshape(g.shape)[()]

    return Integral(
        shaped(value), shaped(error), found.converged, name, g.evaluations, told, found.how, tuple(notes),
        None if spread is None else shaped(spread), found.effective_size, found.pareto_k, g.log,
    )  # fmt: skip


def _checked(
    f: Any, over: Any, method: str, proposal: Any, rtol: Any, atol: Any, evaluations: Any, overlaps: str
) -> None:
    if not callable(f):
        raise ArgumentError(f"f: got {type(f).__name__}, expected a function of a point")
    if not all(hasattr(over, name) for name in ("box", "map", "proof")):
        raise ArgumentError(
            f"over: got {type(over).__name__}, expected a region such as jm.integration.Box(lower, upper) or "
            "jm.integration.Mapped(map, box)"
        )
    if method not in ("auto", *METHODS):
        raise ArgumentError(f"method: got {method!r}, expected 'auto', {', '.join(map(repr, METHODS))}")
    if proposal is not None and method != "auto":
        raise ArgumentError(f"method: got {method!r} beside a proposal, which means importance sampling: give only one")
    if overlaps not in OVERLAPS:
        raise ArgumentError(f"overlaps: got {overlaps!r}, expected {', '.join(map(repr, OVERLAPS))}")
    for name, value in (("rtol", rtol), ("atol", atol)):
        if value is not None and not (isinstance(value, (int, float)) and value >= 0):
            raise ArgumentError(f"{name}: got {value!r}, expected a number of 0 or more")
    if evaluations is not None and not (isinstance(evaluations, int) and evaluations >= 1024):
        raise ArgumentError(f"evaluations: got {evaluations!r}, expected an integer of 1024 or more")
