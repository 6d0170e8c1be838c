"""A flow written by hand, its inverse and its log-determinant: which mistakes are in them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..._errors import ArgumentError
from . import log_det as of_log_det
from . import maps
from .report import Finding, FlowCheck
from .subject import Subject, as_array, sampled


def check_flow(
    f: Callable[..., Any],
    inverse: Callable[..., Any] | None,
    log_det: Callable[..., Any] | None,
    x: Any,
    *,
    batched: bool = False,
) -> FlowCheck:
    """Look for mistakes in somebody's flow, and name them.

    f maps a point to a point; `inverse` should undo it, and `log_det(x)` be log|det ∂f/∂x| at x (either may be None).
    `x` is a batch of points (k, *shape) where the flow is to be used: up to 24 of them are looked at, and points
    between them where there are fewer than a dozen. With ``batched=True`` the functions take batches: f (k, *shape) ->
    (k, *shape), log_det -> (k,). All are functions of JAX, of PyTorch or of NumPy, in the framework that x is of.

    The oracle is jacmap's own Jacobian, and NumPy's determinant of it. Found are, in `log_det`: wrong signs,
    directions, points and factors, whole terms (layers with their source line, entries, constants) that are missing or
    doubled, wrong sums over entries or batches, a missing logarithm or absolute value, a gradient that is not there; in
    `inverse`: permutations, shifts, scales and matrices undone wrongly; in f: singular points and folds.

    Raises ArgumentError where f has not as many outputs as inputs, or x is not a batch of points.
    """
    for name, function, needed in (("f", f, True), ("inverse", inverse, False), ("log_det", log_det, False)):
        if not callable(function) and (needed or function is not None):
            wanted = "a function" if needed else "a function or None"
            raise ArgumentError(f"{name}: got {type(function).__name__}, expected {wanted}")
    values = as_array(x)
    if values.ndim < 2 or not len(values) or values.dtype.kind != "f":
        raise ArgumentError(
            f"x: got shape {values.shape} of {values.dtype}, expected a batch of floating-point points (k, *shape)"
        )
    if not np.isfinite(values).all():
        raise ArgumentError("x: holds NaN or infinity, expected points where the flow is to be used")
    subject = Subject(f, sampled(x), batched)
    subject.linear  # noqa: B018 - raises where f is not square
    findings: list[Finding] = []
    finite = np.isfinite(subject.images).all(axis=1)
    if not finite.all():
        text = f"at {(~finite).sum()} of {len(finite)} points, such as number {(~finite).argmax()}; these are left out"
        findings.append(Finding("f", "not finite", text))
        if not finite.any():
            return FlowCheck(tuple(findings), None, np.zeros(0), None, len(finite))
        subject = Subject(f, subject.points[finite], batched)
    findings += maps.of_f(subject)
    given = round_trip = None
    if log_det is not None:
        given, wrong = of_log_det.claimed(subject, log_det)
        if given is not None:
            wrong += of_log_det.of_values(subject, given, inverse)
            if not wrong:
                wrong += of_log_det.of_gradient(subject, log_det)
        findings += wrong
    if inverse is not None:
        round_trip, wrong = maps.of_inverse(subject, inverse)
        findings += wrong
    return FlowCheck(tuple(findings), given, subject.determinants[1], round_trip, len(subject.points))
