"""The probe of a determinant's plan: plain AD of the whole matrix where it is small, samples where it is not."""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import csr_array

from .._determinant.transforms import SlogDet
from .._errors import StructureError
from ..engine.graph import jacobian_pattern
from ..engine.plan.determinant import Determinant, Stored
from .truth import Truth, to_numpy

# Up to this size the whole matrix is formed for the probe; of larger ones a few columns are compared.
SMALL = 512
COLUMNS = 4
# Entries of a factor beyond which its operand is not compared.
LARGEST = 2**24


def compared(truth: Truth, answer: SlogDet) -> float | None:
    """Against the LU factorisation of the matrix that plain AD gives."""
    true = truth.matrix().astype(float)
    if not np.isfinite(true).all():
        return None
    sign, log = np.linalg.slogdet(true)
    ours_sign, ours = float(answer.sign.detach()), float(answer.logabsdet.detach())
    if (ours_sign, ours) == (sign, log):
        return 0.0
    singular = np.linalg.svd(true, compute_uv=False)
    # Rounding moves a singular value by about eps·s_max; where the sum of the relative moves is not small, the
    # determinant is noise (or zero), and nothing can be told from it.
    loose = 100 * truth.eps * (1 + (singular.max(initial=0) / np.maximum(singular, 1e-300)).sum())
    if loose > 0.1:
        return 0.0
    if not np.isfinite(ours) or abs(ours - log) > loose * max(1.0, abs(log)) or ours_sign != sign:
        raise StructureError(
            f"the plan of the determinant gives sign {ours_sign:+.0f}, log|det| {ours:.10g} where plain AD gives "
            f"{sign:+.0f}, {log:.10g}. No result is returned. Please report this with the function; "
            "torch.linalg.slogdet(torch.func.jacrev(f)(x)) answers meanwhile"
        )
    return float(abs(ours - log) / max(1.0, abs(log)))


def sampled(truth: Truth, plan: Determinant) -> float:
    """No entry of a few random columns of plain AD lies outside the pattern, and operands hold what is read there."""
    n = truth.graph.shape[1]
    pattern = jacobian_pattern(truth.graph).T
    for j in np.random.default_rng(0).choice(n, COLUMNS, replace=False):
        column = truth.push(np.eye(1, n, int(j))[0]) if truth.forward else np.zeros(n)
        allowed = np.zeros(column.size, bool)
        allowed[pattern.take(np.array([j])).tocsr().indices] = True
        if (column[~allowed] != 0).any():
            raise StructureError(
                f"column {j} of plain AD has entries that the pattern lacks. No result is returned. Please report this "
                "with the function; torch.linalg.slogdet(torch.func.jacrev(f)(x)) answers meanwhile"
            )
    return max((_held(truth, step) for step in plan.steps if isinstance(step, Stored)), default=0.0)


def _held(truth: Truth, step: Stored) -> float:
    """The operation's VJP along one direction, by plain AD and by the operand's numbers: the relative difference."""
    factor, values = step.factor, truth.values
    node = truth.graph.nodes[factor.positions[0]]
    i = node.inputs.index(factor.before[0])
    pattern = jacobian_pattern(factor.graph)
    if pattern.stored > LARGEST:
        return 0.0
    given = [values[v].detach() for v in node.inputs]
    y, pull = torch.func.vjp(lambda x: node.payload([*given[:i], x, *given[i + 1 :]])[0], given[i])  # type: ignore[misc]
    along = torch.as_tensor(np.random.default_rng(0).standard_normal(y.shape)).to(y)
    true = to_numpy(pull(along)[0]).ravel()
    entries, held = node.hints.entries[i], given[node.hints.entries[i].operand]
    numbers = to_numpy(held if held.layout == torch.strided else held.to_dense()).ravel()
    csr = pattern.tocsr()
    rows = np.repeat(np.arange(csr.shape[0]), np.diff(csr.indptr))
    found = entries.scale * numbers[entries.rows[rows] + entries.columns[csr.indices]]
    matrix = csr_array((found, csr.indices, csr.indptr), shape=csr.shape)
    difference, scale = np.abs(matrix.T @ to_numpy(along).ravel() - true).max(), np.abs(true).max()
    if difference > 100 * truth.eps * max(scale, np.abs(found).max(initial=0.0)) * np.sqrt(csr.shape[0]):
        raise StructureError(
            f"{node.op}: its derivative along one direction is off by {difference:.3g} (of {scale:.3g}) from what is "
            "read from its operand. No result is returned. Please report this with the function; "
            "torch.linalg.slogdet(torch.func.jacrev(f)(x)) answers meanwhile"
        )
    return float(difference / scale) if scale else 0.0
