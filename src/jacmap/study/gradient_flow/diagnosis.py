"""What is wrong with the flow, where and why: thresholds on measured figures, and what was tried against it.

Nothing here knows a framework's layers. A fault has to stand out from what a healthy network of that depth does: the
total gain of well scaled chains wanders by a factor of tens over fifty layers, so only a thousand counts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .figures import short
from .flow import Diagnosis, Finding, Row, Trial
from .trials import Bench, ratio
from .units import SWITCHES, expected_dead

TOTAL = 1e3  # a factor from end to end that counts as vanishing or exploding
WEAK, STRONG = 0.03, 30.0  # gain of one segment by itself
APART = 10.0  # how far it must stand out from the median segment
DEAD, DEVIATIONS = 0.1, 3.5  # share of dead units above what alike examples explain, and chance (binomial)
SATURATED, PASSES_ON = 0.5, 0.3  # share of saturated units, and the gain below which it does harm
ENOUGH = 8  # examples from which on a unit that is off at all of them may be called dead
ISOMETRY = (
    "Dynamical isometry would need all singular values of the whole Jacobian near 1 (orthogonal weights, slopes near "
    "1, or residuals that start small)"
)
BLAMED = 0.1  # log gain from which on a segment has a part in a slow loss or growth


def diagnose(rows: Sequence[Row], bench: Bench) -> Diagnosis:
    """Local faults first; then whether the rest, taken together, vanishes or explodes."""
    log = np.array([math.log(row.kept) if row.kept > 0 else -math.inf for row in rows])
    findings: list[Finding] = []
    dead = [k for k, row in enumerate(rows) if _is_dead(row, bench)]
    saturated = [k for k, row in enumerate(rows) if (row.saturated or 0) >= SATURATED and row.kept < PASSES_ON]
    known = set(saturated)
    weak = [k for k in range(len(rows)) if k not in known and log[k] < math.log(WEAK) and _stands_out(log, k)]
    strong = [k for k in range(len(rows)) if k not in known and log[k] > math.log(STRONG) and _stands_out(log, k)]
    if saturated:
        findings.append(_saturated(rows, saturated, bench))
    if dead:
        findings.append(_dead(rows, dead, bench))
    if weak:
        findings.append(_single(rows, weak, "weak", bench))
    if strong:
        findings.append(_single(rows, strong, "strong", bench))
    findings += _together(rows, log, {*saturated, *weak, *strong}, bench)
    return Diagnosis(tuple(findings), tuple(_remarks(rows, bench)))


def _stands_out(log: np.ndarray, k: int) -> bool:
    others = np.delete(log, k)
    return others.size < 2 or abs(log[k] - float(np.median(others))) > math.log(APART)


def _is_dead(row: Row, bench: Bench) -> bool:
    segment, examples = bench.network.chain[row.number - 1], bench.network.size
    if examples < ENOUGH or not any(node.op in SWITCHES for node in segment.nodes):
        return False
    expected = expected_dead(row.alike, examples)
    chance = DEVIATIONS * math.sqrt(expected * (1 - expected) / row.shape[0])
    return row.dead > expected + max(DEAD, chance)


def _dead(rows: Sequence[Row], chosen: list[int], bench: Bench) -> Finding:
    shares = ", ".join(f"{rows[k].dead:.0%}" for k in chosen[:5]) + (", ..." if len(chosen) > 5 else "")
    expected = max(expected_dead(rows[k].alike, bench.network.size) for k in chosen)
    words = (
        f"Dead units in {named(rows, chosen)}: {shares} of the outputs do not move at any of the "
        f"{bench.network.size} examples (about {expected:.0%} would be explained by examples that are alike). No "
        "gradient reaches what feeds them; biases far below zero, or one step that was too large, do this."
    )
    return Finding("dead", _numbers(chosen), words, (bench.centred(chosen),))


def _saturated(rows: Sequence[Row], chosen: list[int], bench: Bench) -> Finding:
    share = float(np.median([rows[k].saturated or 0 for k in chosen]))
    gain = float(np.median([rows[k].kept for k in chosen]))
    words = (
        f"Saturated in {named(rows, chosen)}: {share:.0%} of its tanh, sigmoid or erf work on their flat part, so "
        f"that only {short(gain)} of a change comes through. Its weights or biases are too large, or its input is."
    )
    return Finding("saturated", _numbers(chosen), words, (bench.standardised(chosen),))


def _single(rows: Sequence[Row], chosen: list[int], kind: str, bench: Bench) -> Finding:
    gains = ", ".join(short(rows[k].kept) for k in chosen[:5]) + (", ..." if len(chosen) > 5 else "")
    usual = short(float(np.median([row.kept for row in rows])))
    does = "shrinks" if kind == "weak" else "blows up"
    words = (
        f"{named(rows, chosen)} {does} whatever passes, by itself: gain {gains}, where the median segment has {usual}. "
        f"Its weights are too {'small' if kind == 'weak' else 'large'}; every segment before it gets its gradient "
        "through this one."
    )
    return Finding(kind, _numbers(chosen), words, (bench.rescaled(chosen),) if rows[chosen[0]].kept > 0 else ())


def _together(rows: Sequence[Row], log: np.ndarray, told: set[int], bench: Bench) -> list[Finding]:
    """Vanishing or exploding that is spread over many segments."""
    n, m = rows[0].shape[1], rows[-1].shape[0]
    gain = rows[0].onward.gain.value * math.sqrt(n / min(m, n))
    total = math.log(gain) if gain > 0 else -math.inf
    rest = total - sum(log[k] for k in told if np.isfinite(log[k])) if np.isfinite(total) else float(log.sum())
    if abs(rest) < math.log(TOTAL):
        return []
    falls = rest < 0
    kind = "vanishing" if falls else "exploding"
    chosen = [k for k in range(len(rows)) if k not in told and (log[k] < -BLAMED if falls else log[k] > BLAMED)]
    if abs(float(log[chosen].sum())) < math.log(TOTAL) / 2:
        chosen = []
    measured = short(ratio(bench.measured))
    verb = "vanish" if falls else "explode"
    start = f"Gradients {verb}: from the output to the input they change by a factor {measured}"
    if not chosen:
        words = (
            f"{start}. No segment does it by itself: what one lets through is what the next ones "
            f"{'shrink' if falls else 'stretch'} (their singular directions line up)."
        )
        return [Finding(kind, (), words)]
    middle = math.exp(float(np.median(log[chosen])))
    where = f"spread over {named(rows, chosen)} (each × {short(middle)} in the middle)"
    words = f"{start}, {where}. {_cause(rows, chosen, falls)}"
    trials: list[Trial | None] = [bench.rescaled(chosen), bench.with_residual(chosen) if falls else None]
    return [Finding(kind, _numbers(chosen), words, tuple(trial for trial in trials if trial is not None))]


def _cause(rows: Sequence[Row], chosen: list[int], falls: bool) -> str:
    share = float(np.median([rows[k].saturated or 0 for k in chosen]))
    if falls and share > 0.3:
        return f"{share:.0%} of the bounded units are saturated there: weights, biases or inputs are too large."
    if falls:
        return (
            "The weights are too small for this activation, or its slope is (a sigmoid's is at most 1/4), and no "
            "residual connection lets the gradient by."
        )
    return "The weights are too large."


def _remarks(rows: Sequence[Row], bench: Bench) -> list[str]:
    said = []
    total = rows[-1].so_far
    if len(rows) > 1 and total.largest is not None and total.smallest is not None and total.median is not None:
        said.append(
            f"{ISOMETRY}; here they reach from {total.smallest} to {total.largest}, the median {total.median}."
        )
    elif len(rows) > 1:
        condition = [row.own.condition.value for row in rows if row.own.condition is not None]
        said.append(
            f"{ISOMETRY}; here the middle segment already spreads them by {short(float(np.median(condition)))} or more."
        )
    if bench.network.size >= ENOUGH and rows[-1].alike > 0.95 and rows[0].alike < 0.7:
        said.append(
            f"The examples become alike on the way: their mean cosine rises from {rows[0].alike:.2f} to "
            f"{rows[-1].alike:.2f}, which makes them hard to tell apart."
        )
    if bench.network.size < ENOUGH and any(row.dead > 0 for row in rows):
        said.append(
            f"Outputs that do not move at {'this point' if bench.network.size == 1 else 'these few points'} are no "
            f"dead units yet: pass a batch of {ENOUGH} examples or more."
        )
    return said


def _numbers(chosen: Sequence[int]) -> tuple[int, ...]:
    return tuple(k + 1 for k in chosen)


def named(rows: Sequence[Row], chosen: Sequence[int]) -> str:
    """segment 7 (net.py:12 (net)); segments 1–50 (...); segments 1–3, 7, ..."""
    numbers = _numbers(chosen)
    if len(numbers) == 1:
        return f"segment {numbers[0]} ({rows[chosen[0]].name})"
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    shown = [f"{run[0]}–{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs]
    names = {rows[k].place or rows[k].name for k in chosen}
    place = f" ({names.pop()})" if len(names) == 1 else ""
    return f"segments {', '.join(shown[:8])}{', ...' if len(shown) > 8 else ''}{place}"
