"""The bracket found by dynamic programming against an exhaustive search over all ways to bracket a chain."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jacmap as jm
from jacmap.engine.plan.bracket import _MULTIPLY, Tree, best_bracket

REVERSE = 1.1  # what a reverse pass costs more, as the cost model says


def every_tree(i, j, forward, reverse):
    """All ways to get the Jacobian between two boundaries, one by one, with no table and no pruning."""
    if all(forward[i:j]):
        yield Tree("forward", i, j)
    if all(reverse[i:j]):
        yield Tree("reverse", i, j)
    for k in range(i + 1, j):
        firsts = list(every_tree(i, k, forward, reverse))
        lasts = list(every_tree(k, j, forward, reverse))
        if all(forward[k:j]):
            yield from (Tree("push", i, j, k, first=first) for first in firsts)
        if all(reverse[i:k]):
            yield from (Tree("pull", i, j, k, last=last) for last in lasts)
        yield from (Tree("multiply", i, j, k, first, last) for first in firsts for last in lasts)


def price(tree, widths, work):
    """The cost of a tree, read off its definition."""

    def through(i, j):
        return sum(work[i:j])

    below = sum(price(part, widths, work) for part in (tree.first, tree.last) if part is not None)
    if tree.kind == "forward":
        return widths[tree.start] * through(tree.start, tree.stop)
    if tree.kind == "reverse":
        return REVERSE * widths[tree.stop] * through(tree.start, tree.stop)
    if tree.kind == "push":
        return below + widths[tree.start] * through(tree.split, tree.stop)
    if tree.kind == "pull":
        return below + REVERSE * widths[tree.stop] * through(tree.start, tree.split)
    return below + _MULTIPLY * widths[tree.start] * widths[tree.split] * widths[tree.stop]


@st.composite
def chains(draw):
    segments = draw(st.integers(1, 4))
    widths = draw(st.lists(st.integers(1, 60), min_size=segments + 1, max_size=segments + 1))
    work = draw(st.lists(st.integers(1, 500), min_size=segments, max_size=segments))
    modes = st.lists(st.sampled_from([True, True, True, False]), min_size=segments, max_size=segments)
    return widths, [float(w) for w in work], draw(modes), draw(modes)


@given(chains())
def test_nothing_is_cheaper(chain):
    widths, work, forward, reverse = chain
    best = min((price(t, widths, work) for t in every_tree(0, len(work), forward, reverse)), default=None)
    found = best_bracket(widths, work, forward, reverse)
    if best is None:
        assert found is None
    else:
        cost, tree = found
        assert cost == pytest.approx(best)
        assert price(tree, widths, work) == pytest.approx(cost), "the tree does not cost what it is said to"


@given(chains())
def test_trees_use_the_modes_allowed(chain):
    widths, work, forward, reverse = chain

    def check(tree):
        if tree.kind in ("forward", "push"):
            assert all(forward[tree.split or tree.start : tree.stop])
        if tree.kind in ("reverse", "pull"):
            assert all(reverse[tree.start : tree.split or tree.stop])
        for part in (tree.first, tree.last):
            if part is not None:
                check(part)

    found = best_bracket(widths, work, forward, reverse)
    if found is not None:
        check(found[1])


def test_golden_brackets():
    both = [True] * 2
    # Through a waist of 2: into it in reverse, out of it forward, and multiply.
    cost, tree = best_bracket([50, 2, 50], [1000.0, 1000.0], both, both)
    assert tree.describe() == "(forward 1→2)·(reverse 0→1)"
    assert tree.passes([50, 2, 50]) == (2, 2)
    # Widening: forward all the way. Narrowing: reverse all the way.
    assert best_bracket([2, 20, 50], [1000.0] * 2, both, both)[1] == Tree("forward", 0, 2)
    assert best_bracket([50, 20, 2], [1000.0] * 2, both, both)[1] == Tree("reverse", 0, 2)
    # A wide middle with a waist before it: reverse into the waist, and push what comes out.
    assert best_bracket([50, 2, 50, 3], [1e3, 1e3, 1e3], [True] * 3, [True] * 3)[1].passes([50, 2, 50, 3])[0] <= 2


def test_impossible_chains():
    assert best_bracket([3, 3], [1.0], [False], [False]) is None
    assert best_bracket([3, 3, 3], [1.0, 1.0], [True, False], [True, False]) is None
    cost, tree = best_bracket([9, 3, 9], [1.0, 1.0], [True, False], [False, True])
    assert tree.describe() == "(reverse 1→2)·(forward 0→1)"


def test_a_chain_of_mixed_widths_runs_as_bracketed():
    """Every kind of step on real matrices; the oracle is the product in NumPy."""
    widths = [30, 4, 40, 3, 35]
    rng = np.random.default_rng(0)
    matrices = [rng.normal(size=(b, a)) / np.sqrt(a) for a, b in zip(widths, widths[1:], strict=False)]

    def f(x):
        for matrix in matrices:
            x = jnp.sin(matrix @ x)
        return x

    x = rng.normal(size=30)
    factors, at = [], x
    for matrix in matrices:
        factors.append(np.cos(matrix @ at)[:, None] * matrix)
        at = np.sin(matrix @ at)
    true = functools.reduce(lambda sofar, factor: factor @ sofar, factors)
    jacobian = jm.linearize(f, jnp.asarray(x))
    np.testing.assert_allclose(jacobian.dense(), true, rtol=1e-10, atol=1e-14)
    assert jacobian.rank_bound == 3
