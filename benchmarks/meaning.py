"""`make bench-meaning`: what a Jacobian means, geometry and sensitivity, against closed forms and SALib.

Written to benchmarks/out/meaning.json as rows of case, figure, unit, floor, holds.

    python benchmarks/meaning.py [--quick] [--only CASE] ...    (a partial run writes meaning-part.json)
"""

from __future__ import annotations

import contextlib
import os
import resource
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import _geometry
import jax
import jax.numpy as jnp
import numpy as np
from _table import Case, Row, Tick, main
from _timing import medians

import jacmap as jm

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

import breast_cancer
import digits
import ishigami
import onet

REPETITIONS = 100
ROWS = 1024  # SALib's sampler wants a power of two


def memory(quick: bool, tick: Tick) -> Iterator[Row]:
    """One pass over many rows; it comes first, so that the process has held nothing large before."""
    copies = 12 if quick else 56
    rows = np.tile(np.asarray(digits.IMAGES), (copies, 1))
    jm.sensitivity(digits.logits, data=rows[:600])  # what compiling takes is not of the data
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tick(f"{len(rows):,} rows of the digits classifier")
    jm.sensitivity(digits.logits, data=rows)
    rise = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / 1e6
    whole = len(rows) * 640 * 8 / 1e6
    case = f"{len(rows):,} rows × 10×64 (all Jacobians: {whole:.0f} MB): rise of peak memory"
    yield Row(case, rise, "MB", None if quick else 0.5 * whole, at_most=True)


def coverage(quick: bool, tick: Tick) -> Iterator[Row]:
    """Ishigami's function: how often the exact ν lies in the 95 % interval, output by output of one wide function."""
    count = 20 if quick else REPETITIONS

    def together(x: jax.Array) -> jax.Array:
        return jax.vmap(ishigami.f)(x.reshape(count, 3))

    own = np.arange(count)[:, None], np.arange(3 * count).reshape(count, 3)
    with jax.enable_x64(True):
        for rows in (30, 100, ROWS):
            tick(f"Ishigami: coverage at {rows} rows")
            data = np.random.default_rng(rows).uniform(*ishigami.BOUNDS, (rows, 3 * count))
            intervals = jm.sensitivity(together, data=data, resamples=0, progress=False).intervals.square[own]
            inside = (intervals[..., 0] <= ishigami.MEAN_SQUARES) & (ishigami.MEAN_SQUARES <= intervals[..., 1])
            worst = int(inside.sum(axis=0).min())
            case = f"Ishigami, {rows} rows: exact DGSM in the 95 % interval, the worst of three inputs"
            yield Row(case, worst, f"of {count}", 0.9 * count)


def evaluations(quick: bool, tick: Tick) -> Iterator[Row]:
    """What SALib's finite differences need for an interval as wide as ours."""
    with jax.enable_x64(True):
        tick("Ishigami: cost of a row")
        ours, plain = _work(_step(ishigami.f)), _work(jax.value_and_grad(ishigami.f))
        yield Row("Ishigami: operations per row, of one jax.value_and_grad", ours / plain, "×", 1.1, at_most=True)
        repetitions = 3 if quick else 20
        widths = []
        for seed in range(repetitions):
            tick(f"Ishigami: width, {seed + 1} of {repetitions}")
            data = ishigami.sample(ROWS, seed)
            widths.append(np.diff(jm.sensitivity(ishigami.f, data=data, resamples=0).intervals.square[0], axis=1)[:, 0])
        theirs, covered = _salib(repetitions, tick)
    # A width falls with the root of the rows: so many rows would SALib need for our width, at four evaluations each.
    needed = ROWS * (theirs / np.mean(widths, axis=0)) ** 2 * 4
    case = f"Ishigami: evaluations SALib needs for the width of ours with {ROWS} gradients, the best of three inputs"
    yield Row(case, float(needed.min()), "evaluations")
    yield Row("the same, over our number of gradients", float(needed.min() / ROWS), "× fewer", 1.0)
    yield Row("the same, counting a value and gradient as two evaluations", float(needed.min() / ROWS / 2), "× fewer")
    yield Row(f"SALib at {ROWS} rows: exact DGSM in its 95 % interval, the worst input", covered, f"of {repetitions}")


def _step(f: Any) -> Any:
    """What a study computes at a row."""
    return jm.jacobian(lambda x: (f(x)[None], f(x)[None]), has_aux=True)


def _work(run: Any) -> float:
    """Operations of one row in a compiled batch, as XLA counts them."""
    rows = jnp.asarray(ishigami.sample(512))
    cost = jax.jit(jax.vmap(run)).lower(rows).compile().cost_analysis()
    return (cost["flops"] + 10 * cost["transcendentals"]) / 512  # a sine costs about ten multiplications


def _salib(repetitions: int, tick: Tick) -> tuple[np.ndarray, int]:
    """(mean width of SALib's intervals of ν, how often they hold the exact value at random rows)."""
    from SALib.analyze import dgsm
    from SALib.sample import finite_diff

    problem = {"num_vars": 3, "names": ["x1", "x2", "x3"], "bounds": [list(ishigami.BOUNDS)] * 3}
    batch = jax.jit(jax.vmap(ishigami.f))
    widths, inside = [], np.zeros(3, int)
    for seed in range(repetitions):
        tick(f"SALib: {seed + 1} of {repetitions}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            points = finite_diff.sample(problem, ROWS, delta=0.01, seed=seed)
        # Its own points are a Sobol sequence, the same every time: moved by random shifts, modulo the box.
        shift = np.random.default_rng(seed).uniform(0, 2 * np.pi, 3)
        base = (points[::4] + np.pi + shift) % (2 * np.pi) - np.pi
        points = (base[:, None] + (points.reshape(ROWS, 4, 3) - points[::4, None])).reshape(-1, 3)
        found = dgsm.analyze(problem, points, np.asarray(batch(points)), num_resamples=100, seed=seed + 1)
        half = np.asarray(found["dgsm_conf"])
        widths.append(2 * half)
        inside += np.abs(np.asarray(found["vi"]) - ishigami.MEAN_SQUARES) <= half
    return np.mean(widths, axis=0), int(inside.min())


def bounds(quick: bool, tick: Tick) -> Iterator[Row]:
    """The bound of total Sobol indices against the exact indices."""
    tick("Ishigami: bound of the total Sobol indices")
    with jax.enable_x64(True):
        data = ishigami.sample(2_000 if quick else 20_000)
        found = jm.sensitivity(ishigami.f, data=data, distribution="uniform", bounds=ishigami.BOUNDS, progress=False)
    assert found.sobol_bound is not None
    exact = 4 * ishigami.MEAN_SQUARES / ishigami.VARIANCE
    off = float(np.abs(found.sobol_bound[0] / exact - 1).max())
    yield Row(f"Ishigami, {len(data):,} rows: bound of S_tot off its closed form by", off, "relative", 0.05, True)
    above = int((found.sobol_bound[0] >= ishigami.TOTAL).sum())
    yield Row("the same: exact S_tot at or below its bound", above, "of 3", 3)


def sanity(quick: bool, tick: Tick) -> Iterator[Row]:
    """Noise for weights must destroy the map; an input that is not read must get exactly zero."""
    draws = 2 if quick else 5
    studies = {
        "breast cancer": (breast_cancer.log_odds, breast_cancer.point(), breast_cancer.network, breast_cancer.WEIGHTS,
                          breast_cancer.X),
        "digits": (digits.logits, digits.point(), lambda w, x: digits.network(w, x.ravel()), digits.WEIGHTS, None),
        "O-Net's landmarks": (onet.landmarks, onet.point(), lambda w, x: onet.onet(w, x)[2], onet.WEIGHTS, None),
    }  # fmt: skip
    for name, (f, x, model, weights, data) in studies.items():
        tick(f"noise for weights: {name}")
        found = jm.sensitivity(f, x, data=data).check_randomised(model, weights, draws=draws)
        case = f"{name}: rank correlation of |map| with that of noise for weights"
        yield Row(case, found.correlation, "", 0.5, at_most=True)
        yield Row("the same, with signs", abs(float(found.signed.mean())), "", 0.5, at_most=True)
    tick("inputs that are not read")
    part = jnp.arange(0, 64, 3)
    unread = np.setdiff1d(np.arange(64), part)

    def blind(x: jax.Array) -> jax.Array:
        seen = jnp.zeros(64, x.dtype).at[part].set(x[part])
        return digits.logits(seen.reshape(8, 8))

    blinded = jm.sensitivity(blind, data=np.asarray(digits.IMAGES[:100]), resamples=0)
    wrong = int(np.count_nonzero(blinded.mean_square[:, unread])) + len(set(unread) ^ set(blinded.unused))
    yield Row(f"{unread.size} pixels that are not read: not exactly zero, or not said to be unread", wrong, "", 0, True)


def landmarks(quick: bool, tick: Tick) -> Iterator[Row]:
    """O-Net, pretrained: the sensitivity of ten landmark coordinates to 6,912 pixel values."""
    tick("O-Net: landmark sensitivities")
    x = onet.point()
    theirs = jax.jit(jax.jacrev(onet.landmarks))
    ours = jax.jit(jm.jacobian(onet.landmarks))
    exact = np.asarray(theirs(x)).reshape(10, -1)
    found = jm.sensitivity(onet.landmarks, x).matrix
    difference = float(np.abs(found - exact).max() / np.abs(exact).max())
    yield Row("O-Net: landmark sensitivities 10×6912, difference from jacrev", difference, "relative", 1e-5, True)
    yield Row("O-Net: probability of a face in the crop", float(onet.face(x)), "", 0.99)
    times = medians({"ours": lambda: ours(x), "theirs": lambda: theirs(x)}, rounds=5 if quick else 21)
    yield Row("the same, time of jit(jm.jacobian), of jit(jacrev)", times["ours"] / times["theirs"], "×")


def geometry(quick: bool, tick: Tick) -> Iterator[Row]:
    """Singular values, determinant, volume and rotation against closed forms; folds, flips and kinks are told."""
    with jax.enable_x64(True):
        for name, known in _geometry.MAPS.items():
            tick(f"geometry: {name}")
            far = _geometry.difference(known)
            yield Row(f"geometry of the map {name}: difference from the closed form", far, "", 1e-10, at_most=True)
        said = _geometry.told()
    yield Row(f"told in words: {', '.join(said)}", sum(said.values()), f"of {len(said)}", len(said))


def reports(quick: bool, tick: Tick) -> Iterator[Row]:
    """The four reports of `make demo`: size, and what Chromium says of them where it is installed."""
    from demo import CASES, report_on

    root = Path(__file__).parents[1]
    with tempfile.TemporaryDirectory() as folder:
        pages, seconds = [], []
        for case in CASES[: 1 if quick else None]:
            tick(f"report: {case.name}")
            start = perf_counter()
            with contextlib.chdir(root):
                pages.append(report_on(case, Path(folder)))
            seconds.append(perf_counter() - start)
        yield Row("reports of the demo: the largest", max(page.stat().st_size for page in pages) / 1e6, "MB", 3.0, True)
        yield Row("the same: the slowest, the target's own import included", max(seconds), "s")
        errors, faults = _opened(pages)
        if errors is not None:
            yield Row("the same, in headless Chromium: errors in the console", errors, "", 0, at_most=True)
            yield Row("the same: violations that axe-core finds, light and dark", faults, "", 0, at_most=True)


def _opened(pages: list[Path]) -> tuple[int | None, int]:
    """(errors in the console, violations of accessibility); None where there is no browser."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    import browser

    if browser.missing():
        return None, 0
    errors = faults = 0
    with contextlib.closing(browser.page_of()) as opened:
        page = next(opened)
        for path in pages:
            for scheme in ("light", "dark"):
                page.open(path, scheme=scheme)
                errors += len(page.console())
                faults += len(page.violations())
    return errors, faults


CASES: dict[str, Case] = {
    "memory": memory,
    "coverage": coverage,
    "evaluations": evaluations,
    "bounds": bounds,
    "sanity": sanity,
    "landmarks": landmarks,
    "geometry": geometry,
    "reports": reports,
}

if __name__ == "__main__":
    sys.exit(main("meaning", "what a Jacobian means", CASES, "fewer rows and repetitions"))
