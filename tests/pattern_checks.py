"""What every test of patterns compares with: Jacobians of plain JAX at random points, and nothing of our own."""

import jax
import jax.numpy as jnp
import numpy as np

from jacmap.engine.backends.jax.trace import graph_of
from jacmap.engine.graph import jacobian_pattern

# Entries below this size relative to the largest are rounding errors of sums that cancel.
ROUNDING = 1e-12


def real_outputs(function):
    """`function` with a list of its real outputs: integers left out, complex ones in two parts."""

    def run(*args):
        outputs = []
        for leaf in jax.tree_util.tree_leaves(function(*args)):
            leaf = jnp.asarray(leaf)
            if jnp.issubdtype(leaf.dtype, jnp.complexfloating):
                outputs += [jnp.real(leaf), jnp.imag(leaf)]
            elif jnp.issubdtype(leaf.dtype, jnp.inexact):
                outputs.append(leaf)
        return outputs

    return run


def read(function, args, position=0, given=None):
    """(graph, pattern as a dense array) with respect to one argument."""
    closed = jax.make_jaxpr(function)(*args)
    graph = graph_of(closed.jaxpr, closed.consts, [i == position for i in range(len(args))], given)
    return graph, jacobian_pattern(graph).todense()


def true_jacobian(function, args, position=0, forward=True):
    """A function of the arguments that gives plain JAX's Jacobian as one matrix."""
    transform = jax.jit((jax.jacfwd if forward else jax.jacrev)(function, position))
    size = int(np.size(args[position]))

    def at(*args):
        blocks = [np.asarray(block).reshape(-1, size) for block in transform(*args)]
        return np.concatenate(blocks) if blocks else np.zeros((0, size))

    return at


def nonzero(jacobian):
    """Where a Jacobian is more than rounding. NaN and infinity count as entries."""
    size = np.abs(jacobian)
    scale = size[np.isfinite(size)].max(initial=0.0)
    return ~(size <= ROUNDING * scale)


def works(transform, function, args, position):
    """Does JAX differentiate the function in this mode? Told from tracing alone."""
    try:
        jax.make_jaxpr(transform(function, position))(*args)
    except (NotImplementedError, TypeError, ValueError):
        return False
    return True
