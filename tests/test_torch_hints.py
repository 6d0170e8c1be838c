"""Every row of PyTorch's table of hints, tested by itself on the examples of test_torch_rules.py."""

import numpy as np
import pytest
import torch
from test_torch_rules import EXAMPLES, E
from torch_checks import read, true_jacobian

from jacmap.engine.backends.torch.replay import evaluate
from jacmap.engine.backends.torch.rules.contractions import PRODUCTS
from jacmap.engine.backends.torch.rules.hints import TABLE

# Beside those: numbers that scale, axes that only one operand has.
MORE = {
    "addmm": [E(lambda b, x, y: torch.addmm(b, x, y, alpha=-2.5), (4, 2), (4, 3), (3, 2))],
    "addbmm": [E(torch.addbmm, (3, 4), (2, 3, 5), (2, 5, 4))],
    "addr": [E(lambda m, x, y: torch.addr(m, x, y, alpha=3), (2, 3), (2,), (3,))],
    "bmm": [E(torch.bmm, (2, 3, 4), (2, 4, 5))],
}


def nodes(name):
    """(node, values of its inputs) wherever the examples of an operation emit it, each argument active in turn."""
    for example in EXAMPLES[name] + MORE.get(name, []):
        args = example.point(1)
        for position, x in enumerate(args):
            if isinstance(x, torch.Tensor) and x.dtype.is_floating_point and x.layout == torch.strided:
                graph = read(example.function, args, position)[0].graph
                env = evaluate(graph.nodes, dict(graph.constants) | {graph.inputs[0]: x})
                for node in graph.nodes:
                    if node.op == name and any(graph.values[v].active for v in node.inputs):
                        yield node, [env[v] for v in node.inputs]


def derivative(node, values, i, k):
    return true_jacobian(lambda *given: node.payload(list(given))[k], values, i)


@pytest.mark.parametrize("name", sorted(TABLE))
def test_entries_told_to_be_one_are_one(name):
    for node, values in nodes(name):
        for (k, i), local in node.local.items():
            if i in node.hints.unit:
                np.testing.assert_array_equal(derivative(node, values, i, k), local.todense().astype(float))


@pytest.mark.parametrize("name", sorted(PRODUCTS))
def test_entries_are_where_they_are_told_to_be(name):
    told = 0
    for node, values in nodes(name):
        for i, entries in node.hints.entries.items():
            if (0, i) in node.local:
                rows, columns = np.nonzero(node.local[0, i].todense())
                held = values[entries.operand].numpy().ravel()[entries.rows[rows] + entries.columns[columns]]
                np.testing.assert_array_equal(derivative(node, values, i, 0)[rows, columns], entries.scale * held)
                told += 1
    assert told or name == "_sparse_addmm"  # its matrix is sparse: single entries of it are not read
