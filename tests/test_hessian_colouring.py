"""Star and acyclic colourings: every entry found, never more colours than asdex."""

import asdex
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array, diags_array, eye_array, kron, random_array

from jacmap.engine.plan.colouring import colour_columns
from jacmap.engine.plan.symmetric import acyclic, colour_symmetric, star
from jacmap.engine.plan.symmetric_readout import elimination, recovers

pytestmark = pytest.mark.filterwarnings("ignore::asdex.DenseColoringWarning")


def symmetric(matrix):
    pattern = csr_array(matrix, dtype=bool)
    pattern = csr_array(pattern + pattern.T, dtype=bool)
    pattern.eliminate_zeros()
    pattern.sort_indices()
    return pattern


def band(n, width):
    return symmetric(
        diags_array([np.ones(n - abs(k)) for k in range(-width, width + 1)], offsets=range(-width, width + 1))
    )


def arrow(n, heads):
    matrix = np.eye(n)
    matrix[:heads] = 1
    return symmetric(matrix)


def scattered(n, density, seed, diagonal):
    matrix = random_array((n, n), density=density, rng=np.random.default_rng(seed))
    return symmetric(matrix + eye_array(n) if diagonal else matrix)


GRID = kron(band(7, 1).astype(int), eye_array(7)) + kron(eye_array(7), band(7, 1).astype(int))
PATTERNS = {
    "tridiagonal": band(40, 1),
    "pentadiagonal": band(40, 2),
    "arrow": arrow(40, 1),
    "arrow with three heads": arrow(40, 3),
    "grid": symmetric(GRID),
    "full": symmetric(np.ones((9, 9))),
    "diagonal": symmetric(np.eye(9)),
    "empty": symmetric(np.zeros((9, 9))),
    **{
        f"scattered {n} {d} {s}": scattered(n, d, s, s % 2)
        for n, d in [(30, 0.1), (90, 0.03), (150, 0.02)]
        for s in (0, 1)
    },
}


@pytest.mark.parametrize("name", PATTERNS)
def test_never_more_colours_than_asdex(name):
    pattern = PATTERNS[name]
    found = colour_symmetric(pattern)
    theirs = asdex.hessian_coloring_from_sparsity(pattern.toarray()).num_colors
    assert min([colour_columns(pattern).passes, *(c.count for c in found if c.kind == "star")]) <= theirs
    for colouring in found:
        assert recovers(pattern, colouring.read)
        assert colouring.colours.max(initial=-1) + 1 == colouring.count


@pytest.mark.parametrize(
    ("name", "count"), [("arrow", 2), ("arrow with three heads", 4), ("tridiagonal", 3), ("diagonal", 1)]
)
def test_proven_counts(name, count):
    assert colour_symmetric(PATTERNS[name])[0].count == count


def test_an_acyclic_colouring_of_a_random_pattern_has_fewer_colours_still():
    first, second = colour_symmetric(scattered(60, 0.05, 3, True))
    assert (first.kind, second.kind) == ("star", "acyclic") and second.count < first.count
    assert len(first.read.rounds) == 1 < len(second.read.rounds)


def test_what_cannot_be_fewer_is_not_looked_for():
    assert colour_symmetric(PATTERNS["tridiagonal"], known=3) == []
    assert colour_symmetric(PATTERNS["arrow"], known=2) == []


def test_a_pattern_that_is_not_symmetric_is_refused():
    with pytest.raises(ValueError, match="not symmetric"):
        colour_symmetric(csr_array(np.triu(np.ones((3, 3), bool))))


def test_the_check_notices_a_wrong_readout():
    pattern = PATTERNS["arrow"]
    assert elimination(pattern, np.zeros(40, np.int32), 6) is None  # one colour shows nothing
    read = colour_symmetric(pattern)[0].read
    read.expand[:2] = read.expand[1::-1]
    assert not recovers(pattern, read)


@settings(max_examples=40)
@given(st.integers(2, 14), st.lists(st.tuples(st.integers(0, 13), st.integers(0, 13)), max_size=40), st.randoms())
def test_greedy_colourings_are_what_they_say(n, edges, random):
    pairs = {(min(i, j), max(i, j)) for i, j in edges if i != j and max(i, j) < n}
    neighbours = [[] for _ in range(n)]
    for i, j in pairs:
        neighbours[i].append(j)
        neighbours[j].append(i)
    order = list(range(n))
    random.shuffle(order)
    for colours in (star(neighbours, order), acyclic(neighbours, order)):
        assert all(colours[i] != colours[j] for i, j in pairs)
    colours = star(neighbours, order)
    for b, c in pairs:  # no path a-b-c-d in two colours
        for first, last in ((b, c), (c, b)):
            ends = [a for a in neighbours[first] if a != last and colours[a] == colours[last]]
            far = [d for d in neighbours[last] if d != first and colours[d] == colours[first]]
            assert not (ends and far)
    colours = acyclic(neighbours, order)
    for one in range(max(colours) + 1):
        for other in range(one):
            part = [(i, j) for i, j in pairs if {colours[i], colours[j]} == {one, other}]
            touched = {v for edge in part for v in edge}
            assert len(part) <= max(0, len(touched) - components(touched, part))  # a forest


def components(vertices, edges):
    label = {v: v for v in vertices}
    for i, j in edges:
        old, new = label[i], label[j]
        label = {v: new if at == old else at for v, at in label.items()}
    return len(set(label.values()))
