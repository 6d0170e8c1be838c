"""The flow in words and as a table of at most 100 columns."""

from __future__ import annotations

import textwrap

from .figures import short
from .flow import Diagnosis, GradientFlow, Row, Trial

WIDTH = 98
LONGEST = 60  # rows printed in full; of more the middle is left out
NAME = 24


def of_flow(flow: GradientFlow) -> list[str]:
    """Heading, diagnosis, table, and how to read it."""
    over = "at one point" if flow.examples == 1 else f"over {flow.examples} examples"
    lines = [f"Gradient flow of {flow.name}: {flow.plan.segments} segments, {over}", ""]
    lines += of_diagnosis(flow.diagnosis)
    lines += ["", *_table(flow), "", *_legend(flow), *_wrapped(f"How: {flow.plan}.", "")]
    return lines


def of_diagnosis(diagnosis: Diagnosis) -> list[str]:
    lines = []
    if diagnosis.healthy:
        lines.append("Healthy: nothing vanishes, explodes, saturates or is dead.")
    for finding in diagnosis.findings:
        lines += _wrapped(finding.words, "! ")
        for trial in finding.trials:
            lines += _wrapped(of_trial(trial), "    → ")
    for remark in diagnosis.remarks:
        lines += _wrapped(remark, "- ")
    return lines


def of_trial(trial: Trial) -> str:
    """Tried, measured: ...: gradient ... from 1e-15 to 0.9."""
    if trial.before is None or trial.after is None:
        return f"{trial.label}: {trial.what}."
    return f"{trial.label}: {trial.what}; {trial.quantity} goes from {short(trial.before)} to {short(trial.after)}."


HEAD = ("#", "segment", "m×n", "σ max", "median", "min", "gain", "so far", "onward", "dead", "sat.", "‖grad‖")


def _table(flow: GradientFlow) -> list[str]:
    rows = [_cells(row) for row in flow.rows]
    shown: list[tuple[str, ...]] = [HEAD, *rows]
    if len(rows) > LONGEST:
        shown = [HEAD, *rows[: LONGEST // 2], ("…", *([""] * (len(HEAD) - 1))), *rows[-LONGEST // 2 :]]
    # A column in which nothing stands is left out.
    columns = [c for c in range(len(HEAD)) if c < 2 or any(row[c] not in ("", "–") for row in shown[1:])]
    widths = {c: max(len(row[c]) for row in shown) for c in columns}
    spare = WIDTH - sum(widths.values()) - 2 * (len(columns) - 1)
    widths[1] = max(8, min(widths[1], widths[1] + spare))
    return [
        "  ".join(
            (row[c][-widths[c] :] if c == 1 else row[c]).ljust(widths[c])
            if c == 1
            else row[c].rjust(widths[c])
            for c in columns
        ).rstrip()
        for row in shown
    ]


def _cells(row: Row) -> tuple[str, ...]:
    own = row.own
    m, n = row.shape
    return (
        str(row.number),
        row.name,
        f"{m}×{n}",
        *("–" if figure is None else _two(figure) for figure in (own.largest, own.median, own.smallest, own.gain)),
        _two(row.so_far.gain),
        _two(row.onward.gain),
        f"{row.dead:.0%}" if row.dead else "",
        "" if row.saturated is None else f"{row.saturated:.0%}",
        "" if row.log_gradient is None or row.gradient is None else short(row.gradient, 2),
    )


def _two(figure: object) -> str:
    text = str(figure)
    sign = text[0] if text[0] in "~≥≤" else ""
    value = getattr(figure, "value", 0.0)
    return f"{sign}{short(float(value), 2)}"


def _legend(flow: GradientFlow) -> list[str]:
    words = (
        "J of a segment is m×n, outputs × inputs; σ: its singular values, what it does to the direction that it "
        "stretches most, typically, least. gain: the stretch of a random direction (‖J‖_F/√n); 1 is neutral. so far, "
        "onward: the gain from the input up to here, and from here to the output. dead: outputs that nothing moves at "
        "any example. sat.: units of tanh, sigmoid or erf on their flat part."
    )
    if flow.input_gradient is not None:
        start = short(flow.input_gradient)
        words += f" ‖grad‖: length of the loss gradient after the segment; at the input it is {start}."
    if flow.plan.method == "estimate":
        words += " ~: an estimate (its error bar is in the figure), ≥ and ≤: bounds."
    return _wrapped(words, "")


def _wrapped(text: str, start: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=start, subsequent_indent=" " * len(start))
