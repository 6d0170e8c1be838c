"""Every row of the table of hints, tested by itself on the examples of test_rules.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_rules import EXAMPLES, real_outputs

from jacmap.engine.backends.jax import compat
from jacmap.engine.backends.jax.rules.hints import TABLE
from jacmap.engine.backends.jax.run import evaluate
from jacmap.engine.backends.jax.trace import graph_of


def nodes(name):
    """(node, values of its inputs) for each time the examples of an operation emit it, each argument active in turn."""
    for example in EXAMPLES[name]:
        args = example.point(1)
        closed = jax.make_jaxpr(real_outputs(example.function))(*args)
        for position, value in enumerate(args):
            if value.dtype.kind == "f":
                active = [k == position for k in range(len(args))]
                given = {k: a for k, a in enumerate(args) if k != position}
                graph = graph_of(closed.jaxpr, closed.consts, active, given)
                others = [a for k, a in enumerate(args) if k != position]
                start = {graph.inputs[0]: jnp.asarray(args[position])} | dict(zip(graph.others, others, strict=True))
                env = evaluate(graph.nodes, dict(graph.constants) | start)
                for node in graph.nodes:
                    if node.op == name and any(graph.values[v].active for v in node.inputs):
                        yield node, [jnp.asarray(env[v]) for v in node.inputs]


def derivative(node, values, i, k=0):
    def function(x):
        return compat.bind(node.payload, [x if j == i else v for j, v in enumerate(values)])[k]

    return np.asarray(jax.jacfwd(function)(values[i])).reshape(-1, values[i].size)


def test_every_row_has_an_example():
    assert all(EXAMPLES.get(name) for name in TABLE)


@pytest.mark.parametrize("name", sorted(TABLE))
def test_entries_told_to_be_one_are_one(name):
    for node, values in nodes(name):
        for (k, i), local in node.local.items():
            if i in node.hints.unit:
                np.testing.assert_array_equal(derivative(node, values, i, k), local.todense().astype(float))


@pytest.mark.parametrize("name", ["dot_general", "conv_general_dilated"])
def test_tied_entries_are_equal(name):
    told = 0
    for node, values in nodes(name):
        for i, tied in node.hints.tied.items():
            rows, columns = np.nonzero(node.local[0, i].todense())
            seen = {}
            for r, c, number in zip(rows, columns, derivative(node, values, i)[rows, columns], strict=True):
                np.testing.assert_allclose(seen.setdefault((tied.rows[r], tied.columns[c]), number), number, rtol=1e-12)
                told += 1
    assert told or name == "conv_general_dilated"  # none of its examples has a kernel of one tap: see below


def test_a_kernel_of_one_tap_is_the_same_product_everywhere():
    image, kernel = np.random.default_rng(0).standard_normal((2, 5, 4, 3)), np.ones((1, 1, 3, 3))
    numbers = ("NHWC", "HWIO", "NHWC")

    def product(x):
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=numbers)

    closed = jax.make_jaxpr(product)(image)
    (node,) = (n for n in graph_of(closed.jaxpr, closed.consts, [True]).nodes if n.op == "conv_general_dilated")
    tied = node.hints.tied[0]
    channel = np.arange(image.size) % 3
    np.testing.assert_array_equal(tied.rows, channel)
    np.testing.assert_array_equal(tied.columns, channel)


def test_masked_weights_leave_the_entries_that_they_carry():
    rng = np.random.default_rng(0)
    for node, values in nodes("dot_general"):
        for i, weights in node.hints.weights.items():
            rows, columns = np.nonzero(node.local[0, i].todense())
            chosen = rng.random(rows.size) < 0.2
            mask = weights.mask(rows[chosen], columns[chosen])
            left = weights.pattern(mask).todense()
            assert left[rows[chosen], columns[chosen]].all()
            masked = list(values)
            masked[weights.operand] = jnp.where(mask, values[weights.operand], 0)
            assert not ((derivative(node, masked, i) != 0) & ~left).any()
