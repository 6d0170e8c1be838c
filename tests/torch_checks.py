"""What tests of PyTorch graphs compare with: a plain loop of `torch.autograd.grad` in float64, nothing of our own."""

import numpy as np
import torch

from jacmap.engine.backends.torch.replay import evaluate
from jacmap.engine.backends.torch.trace import graph_of
from jacmap.engine.graph import jacobian_pattern

# Small tensors: threads would only wait for each other.
torch.set_num_threads(1)

# Entries below this size relative to the largest are rounding errors of sums that cancel.
ROUNDING = 1e-12


def parts(out):
    """The outputs that can have a derivative, complex ones in two parts."""
    leaves = [out] if isinstance(out, torch.Tensor) else [leaf for leaf in out if isinstance(leaf, torch.Tensor)]
    real = []
    for leaf in leaves:
        if leaf.dtype.is_complex:
            real += [leaf.real, leaf.imag]
        elif leaf.dtype.is_floating_point:
            real.append(leaf)
    return real


def read(function, args, position=0, aware=True):
    """(reading, pattern as a dense array) with respect to one argument; the others known, or arguments too."""
    rest = [a for k, a in enumerate(args) if k != position]

    def call(moving, others):
        others = iter(rest if aware else others)
        return parts(function(*(moving[0] if k == position else next(others) for k in range(len(args)))))

    reading = graph_of(call, [args[position]], [] if aware else rest)
    return reading, jacobian_pattern(reading.graph).todense()


def true_jacobian(function, args, position=0):
    """m×n, row by row."""
    x = args[position].detach().clone().requires_grad_()
    outputs = parts(function(*(x.clone() if k == position else a.clone() for k, a in enumerate(args))))
    rows = [np.zeros((0, x.numel()))]
    for out in outputs:
        block = np.zeros((out.numel(), x.numel()))
        if out.requires_grad:
            for k, entry in enumerate(out.reshape(-1)):
                (row,) = torch.autograd.grad(entry, x, retain_graph=True, allow_unused=True)
                if row is not None:
                    block[k] = (row.reshape(-1) + 0).numpy()
        rows.append(block)
    return np.concatenate(rows)


def nonzero(jacobian):
    """Where a Jacobian is more than rounding. NaN and infinity count as entries."""
    size = np.abs(jacobian)
    scale = size[np.isfinite(size)].max(initial=0.0)
    return ~(size <= ROUNDING * scale)


def replayed(reading, xs, others=()):
    """The outputs of the graph run again."""
    graph = reading.graph
    given = zip((*graph.inputs, *graph.others), (*xs, *others), strict=True)
    env = evaluate(graph.nodes, dict(graph.constants) | dict(given))
    return [env[v] for v in graph.outputs]


def check(function, *args, position=0, exact=False, replay=True):
    """Sound pattern, and a replay that equals the function in value and derivative; the reading and pattern."""
    reading, pattern = read(function, args, position)
    jacobian = true_jacobian(function, args, position)
    assert pattern.shape == jacobian.shape
    assert not (nonzero(jacobian) & ~pattern).any(), "missing entries"
    if exact:
        np.testing.assert_array_equal(pattern, nonzero(jacobian))
    if replay:
        again = true_jacobian(lambda x: replayed(reading, [x]), [args[position]])
        np.testing.assert_allclose(again, jacobian, rtol=1e-10, atol=1e-12)
        values = parts(function(*(a.clone() for a in args)))
        for ours, theirs in zip(replayed(reading, [args[position]]), values, strict=True):
            torch.testing.assert_close(ours, theirs.detach(), rtol=1e-10, atol=1e-12)
    return reading, pattern
