"""Colourings: proven counts, a compress-and-read oracle in numpy, brute force, a checker that complains."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from jacmap.engine.plan import lattices, orders
from jacmap.engine.plan.colouring import Colouring, colour_both, colour_columns, colour_rows, entries
from jacmap.engine.plan.colouring_check import check
from jacmap.engine.plan.problem import Problem, conflict_graph, distinct_rows, reduce

SIDES = [colour_columns, colour_rows, colour_both]


def dense(rows) -> sparse.csr_array:
    return sparse.csr_array(np.array(rows, bool))


def banded(n: int, lower: int, upper: int) -> sparse.csr_array:
    offset = np.arange(n) - np.arange(n)[:, None]
    return dense((offset >= -lower) & (offset <= upper))


def blocks(*shapes: tuple[int, int]) -> sparse.csr_array:
    return sparse.csr_array(sparse.block_diag([np.ones(shape, bool) for shape in shapes], format="csr"))


def arrow(n: int) -> sparse.csr_array:
    full = np.eye(n, dtype=bool)
    full[0] = full[:, 0] = True
    return dense(full)


FIVE = [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)]
NINE = list(itertools.product((-1, 0, 1), repeat=2))


def stencil(height: int, width: int, points: list[tuple[int, int]], periodic: bool) -> sparse.csr_array:
    """Point (y, x) of a grid depends on its neighbours (y + dy, x + dx)."""
    y, x = np.divmod(np.arange(height * width), width)
    rows, columns = [], []
    for dy, dx in points:
        inside = np.full(len(y), periodic) | (
            (0 <= y + dy) & (y + dy < height) & (0 <= x + dx) & (x + dx < width)
        )
        rows.append(np.flatnonzero(inside))
        columns.append(((y + dy) % height * width + (x + dx) % width)[inside])
    rows, columns = np.concatenate(rows), np.concatenate(columns)
    return sparse.csr_array((np.ones(len(rows), bool), (rows, columns)), shape=(len(y), len(y)))


def two_components(pattern: sparse.csr_array) -> sparse.csr_array:
    """Two fields with this stencil, each also reading the other one at its own point."""
    own = sparse.eye_array(pattern.shape[0], dtype=bool)
    return sparse.csr_array(sparse.block_array([[pattern, own], [own, pattern]], format="csr"))


def interleaved(pattern: sparse.csr_array) -> sparse.csr_array:
    """The same two fields, numbered point by point."""
    order = np.arange(pattern.shape[0]).reshape(2, -1).T.ravel()
    return pattern[order][:, order]


def random_pattern(m: int, n: int, density: float, seed: int) -> sparse.csr_array:
    return dense(np.random.default_rng(seed).random((m, n)) < density)


def part_of(pattern: sparse.csr_array, share: float, seed: int) -> sparse.csr_array:
    full = pattern.toarray()
    return dense(full & (np.random.default_rng(seed).random(full.shape) < share))


def reads_back(colouring: Colouring, pattern, wanted=None) -> bool:
    """Compress a matrix of random reals with the seeds, read the wanted entries from it, compare."""
    wanted = pattern if wanted is None else wanted
    m, n = pattern.shape
    J = pattern.toarray() * np.random.default_rng(7).uniform(1, 2, (m, n))
    S = (colouring.column_colours[:, None] == np.arange(colouring.forward)).astype(float)
    T = (colouring.row_colours[:, None] == np.arange(colouring.reverse)).astype(float)
    forward, reverse = J @ S, T.T @ J
    try:
        where = entries(colouring, wanted)
    except ValueError:
        return False
    expected = np.argwhere(wanted.toarray())
    assert np.array_equal(np.stack(where[:2], axis=1), expected)
    read = [reverse[c, j] if r else forward[i, c] for i, j, r, c in zip(*where, strict=True)]
    return np.allclose(read, J[tuple(expected.T)], rtol=1e-12, atol=0)


def assert_valid(colouring: Colouring, pattern, wanted=None) -> None:
    assert check(colouring, pattern, wanted) == []
    assert reads_back(colouring, pattern, wanted)
    assert colouring.column_colours.dtype == colouring.row_colours.dtype == np.int32


# --- proven counts ---


@pytest.mark.parametrize(
    ("pattern", "columns", "rows"),
    [
        pytest.param(banded(40, 0, 0), 1, 1, id="diagonal"),
        pytest.param(banded(40, 1, 1), 3, 3, id="tridiagonal"),
        pytest.param(banded(40, 2, 2), 5, 5, id="pentadiagonal"),
        pytest.param(banded(40, 3, 1), 5, 5, id="banded 3, 1"),
        pytest.param(banded(30, 29, 0), 30, 30, id="lower triangular"),
        pytest.param(blocks(*[(3, 5)] * 8), 5, 3, id="8 blocks of 3x5"),
        pytest.param(blocks((2, 7), (4, 1), (3, 3)), 7, 4, id="unequal blocks"),
        pytest.param(arrow(20), 20, 20, id="arrow"),
        pytest.param(dense(np.ones((6, 9))), 9, 6, id="full"),
        pytest.param(stencil(10, 15, FIVE, periodic=True), 5, 5, id="5-point periodic"),
        pytest.param(stencil(11, 13, FIVE, periodic=False), 5, 5, id="5-point"),
        pytest.param(stencil(12, 9, NINE, periodic=True), 9, 9, id="9-point periodic"),
        pytest.param(stencil(8, 11, NINE, periodic=False), 9, 9, id="9-point"),
        pytest.param(two_components(stencil(12, 12, FIVE, periodic=True)), 6, 6, id="two components"),
        pytest.param(sparse.csr_array((4, 3), dtype=bool), 0, 0, id="zero"),
        pytest.param(sparse.csr_array((0, 3), dtype=bool), 0, 0, id="no rows"),
        pytest.param(sparse.csr_array((3, 0), dtype=bool), 0, 0, id="no columns"),
    ],
)
def test_one_sided_counts_are_the_proven_ones(pattern, columns, rows):
    by_columns, by_rows = colour_columns(pattern), colour_rows(pattern)
    assert (by_columns.forward, by_columns.reverse, by_columns.lower_bound) == (columns, 0, columns)
    assert (by_rows.forward, by_rows.reverse, by_rows.lower_bound) == (0, rows, rows)
    assert_valid(by_columns, pattern)
    assert_valid(by_rows, pattern)
    both = colour_both(pattern)
    assert both.passes <= min(columns, rows)
    assert_valid(both, pattern)


def test_an_arrow_takes_three_passes_two_sided():
    found = colour_both(arrow(50))
    assert (found.forward, found.reverse, found.side, found.lower_bound) == (2, 1, "both", 0)
    assert_valid(found, arrow(50))


def test_a_long_column_over_wide_rows_takes_one_jvp_and_one_vjp():
    pattern = sparse.csr_array(sparse.hstack([np.ones((20, 1), bool), blocks(*[(1, 30)] * 20)]))
    found = colour_both(pattern)
    assert (colour_columns(pattern).passes, colour_rows(pattern).passes) == (31, 20)
    assert (found.forward, found.reverse) == (1, 1)
    assert_valid(found, pattern)


def test_two_long_rows_and_columns_around_a_band():
    full = banded(60, 1, 1).toarray()
    full[[5, 40]] = full[:, [7, 20]] = True
    found = colour_both(dense(full))
    # Two rows by VJPs; of the others each has at most two long columns and three of the band.
    assert found.passes <= 2 + 2 + 3
    assert_valid(found, dense(full))


@pytest.mark.parametrize(
    ("pattern", "wanted", "columns"),
    [
        pytest.param(banded(30, 1, 1), banded(30, 0, 0), 2, id="diagonal of a tridiagonal"),
        pytest.param(dense(np.ones((12, 12))), banded(12, 0, 0), 12, id="diagonal of a full matrix"),
        pytest.param(blocks(*[(4, 4)] * 6), banded(24, 0, 0), 4, id="diagonal of blocks"),
        pytest.param(
            blocks((6, 6), (6, 6)), dense(np.kron(np.eye(2), 1 - np.eye(6))), 6, id="most of two blocks"
        ),
        pytest.param(dense(np.ones((5, 9))), dense(np.eye(5, 9)[:, ::-1]), 5, id="columns nobody asks for"),
        pytest.param(arrow(12), banded(12, 0, 0), 2, id="diagonal of an arrow"),
        pytest.param(banded(9, 1, 1), sparse.csr_array((9, 9), dtype=bool), 0, id="nothing"),
    ],
)
def test_only_what_is_wanted_is_coloured(pattern, wanted, columns):
    found = colour_columns(pattern, wanted)
    assert (found.passes, found.lower_bound <= columns) == (columns, True)
    for colour in SIDES:
        assert_valid(colour(pattern, wanted), pattern, wanted)
    nobody = np.setdiff1d(np.arange(pattern.shape[1]), wanted.indices)
    assert (found.column_colours[nobody] == -1).all()


# --- any pattern ---


@st.composite
def questions(draw):
    """A small pattern with a part that is wanted."""
    m, n = draw(st.integers(0, 7)), draw(st.integers(0, 7))
    cell = st.sampled_from([0, 0, 1, 2])
    cells = np.array(draw(st.lists(cell, min_size=m * n, max_size=m * n)), int).reshape(m, n)
    return dense(cells > 0), dense(cells > draw(st.integers(0, 1)))


@given(questions())
def test_every_colouring_reads_back(question):
    for colour in SIDES:
        assert_valid(colour(*question), *question)
        assert_valid(colour(question[0]), question[0])


def chromatic_number(pattern: np.ndarray, wanted: np.ndarray) -> int:
    """The fewest colours there are, by trying."""
    seeded = np.flatnonzero(wanted.any(axis=0))
    clash = [
        (a, b)
        for a, b in itertools.combinations(range(len(seeded)), 2)
        for i in range(len(pattern))
        if pattern[i, seeded[a]] and pattern[i, seeded[b]] and (wanted[i, seeded[a]] or wanted[i, seeded[b]])
    ]

    def colourable(colours: tuple[int, ...], k: int) -> bool:
        if len(colours) == len(seeded):
            return True
        taken = {colours[a] for a, b in clash if b == len(colours)}
        return any(colourable((*colours, c), k) for c in set(range(k)) - taken)

    return next(k for k in range(len(seeded) + 1) if colourable((), k))


@given(questions())
def test_lower_bounds_are_below_the_optimum(question):
    pattern, wanted = (part.toarray() for part in question)
    for found, optimum in (
        (colour_columns(*question), chromatic_number(pattern, wanted)),
        (colour_rows(*question), chromatic_number(pattern.T, wanted.T)),
    ):
        assert found.lower_bound <= optimum <= found.passes <= optimum + 1


@pytest.mark.parametrize("share", [1.0, 0.3])
@pytest.mark.parametrize(
    "pattern",
    [
        pytest.param(random_pattern(60, 60, 0.08, 0), id="sparse"),
        pytest.param(random_pattern(40, 90, 0.3, 1), id="dense"),
        pytest.param(random_pattern(150, 30, 0.05, 2), id="tall"),
        pytest.param(
            sparse.csr_array(sparse.vstack([random_pattern(20, 50, 0.15, 3)] * 4)), id="repeated rows"
        ),
        pytest.param(stencil(7, 8, FIVE, periodic=True), id="awkward torus"),
        pytest.param(stencil(10, 10, NINE, periodic=True), id="torus, 10 colours"),
    ],
)
def test_larger_patterns_read_back(pattern, share):
    wanted = part_of(pattern, share, seed=5)
    for colour, effort in itertools.product(SIDES, (0.0, 1.0)):
        found = colour(pattern, wanted, effort=effort)
        assert found.passes >= found.lower_bound
        assert_valid(found, pattern, wanted)


def test_effort_never_costs_passes_and_results_repeat():
    for seed in range(5):
        pattern = random_pattern(80, 80, 0.06, seed)
        first, quick = colour_columns(pattern), colour_columns(pattern, effort=0.0)
        assert first.passes <= quick.passes
        again = colour_columns(pattern)
        assert np.array_equal(first.column_colours, again.column_colours)


def test_large_stencils_take_their_lattice():
    """Wrapped rows are rare here: a lattice fitted to a sample first fails on the whole and learns."""
    for pattern, count in (
        (two_components(stencil(180, 180, FIVE, periodic=True)), 6),
        (stencil(211, 212, NINE, periodic=False), 9),
        (interleaved(two_components(stencil(120, 180, FIVE, periodic=True))), 6),
        (stencil(200, 200, FIVE, periodic=True), 5),
    ):
        found = colour_columns(pattern)
        assert (found.passes, found.order.split()[0] in ("lattice", "modulo")) == (count, True)
        # The slow checker would take seconds here; this says the same in scipy.
        S = sparse.csr_array((np.ones(pattern.shape[1]), (np.arange(pattern.shape[1]), found.column_colours)))
        assert (pattern.astype(float) @ S).max() == 1


def test_a_lattice_that_fits_the_sample_only_is_mended():
    full = stencil(200, 200, FIVE, periodic=False).tolil()
    # Row 9 is not in the sample. Its new entry clashes with point (1, 9) under x + 2y, not under x + 3y.
    full[9, 11] = True
    pattern = sparse.csr_array(full)
    found = colour_columns(pattern)
    assert (found.passes, found.order) == (5, "lattice (1, 3) modulo 5 over strides (1, 200)")
    S = sparse.csr_array((np.ones(40_000), (np.arange(40_000), found.column_colours)))
    assert (pattern.astype(float) @ S).max() == 1


def test_the_input_may_be_any_sparse_format_and_is_left_alone():
    rows, columns = [2, 0, 0, 2, 1], [1, 2, 0, 1, 1]
    coo = sparse.coo_array((np.ones(5), (rows, columns)), shape=(3, 3))
    unsorted = sparse.csr_array(
        (np.array([1, -1, -1, 0, 2]), np.array([2, 0, 2, 1, 1]), np.array([0, 3, 4, 5]))
    )
    before = unsorted.indices.copy(), unsorted.data.copy()
    for pattern in (coo, coo.tocsc(), sparse.coo_matrix(coo), unsorted):
        for colour in SIDES:
            assert_valid(
                colour(pattern), dense(pattern.toarray() != 0) if pattern is not unsorted else UNSORTED
            )
    assert_valid(colour_columns(unsorted, unsorted), UNSORTED)
    assert np.array_equal(unsorted.indices, before[0])
    assert np.array_equal(unsorted.data, before[1])


# Row 0 holds entry (0, 2) twice and row 1 a stored zero; values that cancel still say "may be nonzero".
UNSORTED = dense([[1, 0, 1], [0, 0, 0], [0, 1, 0]])


@pytest.mark.parametrize("seed", range(6))
def test_never_more_colours_than_largest_first_by_hand(seed):
    """The order that SparseMatrixColorings.jl and asdex use, written out over the list of conflicts."""
    pattern = random_pattern(70, 70, 0.07, seed)
    conflict = (pattern.T.astype(int) @ pattern.astype(int)).toarray() > 0
    colours: dict[int, int] = {}
    for j in np.argsort(-conflict.sum(axis=0), kind="stable").tolist():
        taken = {colours[k] for k in np.flatnonzero(conflict[j]).tolist() if k in colours}
        if conflict[j, j]:
            colours[j] = next(c for c in itertools.count() if c not in taken)
    assert colour_columns(pattern).passes <= max(colours.values()) + 1


# --- the parts ---


def problem_of(pattern, wanted) -> Problem:
    marked = sparse.csr_array(
        (wanted.toarray()[pattern.nonzero()], pattern.indices, pattern.indptr), pattern.shape
    )
    return reduce(marked)[0]


@pytest.mark.parametrize("share", [1.0, 0.4])
def test_graph_and_clashes_agree_with_their_definitions(share):
    pattern = random_pattern(25, 18, 0.2, 11)
    problem = problem_of(pattern, part_of(pattern, share, seed=1))
    full = np.zeros((2, len(problem.lengths), problem.n), bool)
    full[0, problem.rows, problem.indices] = True
    full[1, problem.rows, problem.indices] = True if problem.wanted is None else problem.wanted
    conflict = np.einsum("ia,ib->ab", full[1].astype(int), full[0].astype(int)) > 0
    conflict |= conflict.T
    graph = conflict_graph(problem, 1e9)
    assert graph is not None
    assert np.array_equal(graph.toarray(), conflict)

    colours = np.random.default_rng(0).integers(0, 6, problem.n)
    same = (colours[:, None] == colours) & ~np.eye(problem.n, dtype=bool)
    clashing = np.flatnonzero([(full[1, i][:, None] & full[0, i] & same).any() for i in range(full.shape[1])])
    # A large count takes the sorting branch, a small one the counting table.
    for count in (6, 10**7):
        assert np.array_equal(problem.clashes(colours, count), clashing)


@pytest.mark.parametrize("make", [orders.smallest_last, orders.dsatur])
def test_dynamic_orders_name_each_column_once(make):
    pattern = random_pattern(30, 100, 0.5, 2)
    graph = conflict_graph(problem_of(pattern, pattern), 1e9)
    assert sorted(make(graph).tolist()) == list(range(100))


def conflicts_of(edges: np.ndarray, n: int) -> Problem:
    """Each pair of columns that conflict as a row of its own."""
    rows = np.zeros((len(edges), n), bool)
    np.put_along_axis(rows, edges, True, axis=1)
    return problem_of(dense(rows), dense(rows))


def test_a_grid_learns_conflicts_between_two_forms():
    grid = lattices.Grid((1, 10), 100, (np.array([0]), np.array([1])))
    forms = grid.forms(5)
    colours, form = next(forms)
    assert form == (1, 0)
    assert np.array_equal(colours, np.arange(100) % 10 % 5)
    grid.learn((np.array([0, 12]), np.array([10, 21])))
    # Steps (0, 1) and (-1, 1) now conflict as well, and multiples of a form are left out.
    assert [form for _, form in forms] == [(1, 2), (1, 3), (1, 4)]


@pytest.mark.parametrize("make", [orders.smallest_last, orders.dsatur])
@pytest.mark.parametrize("seed", range(4))
def test_dynamic_orders_colour_trees_with_two_colours(make, seed):
    rng = np.random.default_rng(seed)
    names = rng.permutation(40)
    tree = np.array([[names[v], names[rng.integers(v)]] for v in range(1, 40)])
    problem = conflicts_of(tree, 40)
    order = make(conflict_graph(problem, 1e9))
    assert orders.Greedy(problem)(order.tolist(), 40).max() == 1


def test_dsatur_colours_a_crown_with_two_colours():
    """a_i conflicts with b_j where i != j: in the order a_1 b_1 a_2 b_2 ... greedy takes 10 colours."""
    crown = np.array([[2 * i, 2 * j + 1] for i in range(10) for j in range(10) if i != j])
    problem = conflicts_of(crown, 20)
    greedy = orders.Greedy(problem)
    assert greedy(range(20), 20).max() == 9
    assert greedy(orders.dsatur(conflict_graph(problem, 1e9)).tolist(), 20).max() == 1


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_repeated_rows_are_dropped_and_nothing_else(share):
    half = random_pattern(15, 20, 0.3, 4)
    wanted = part_of(half, share, seed=2)
    twice = problem_of(*(sparse.csr_array(sparse.vstack([part] * 3)) for part in (half, wanted)))
    rows = {
        (tuple(part.indices[a:b]), () if part.wanted is None else tuple(part.wanted[a:b]))
        for part in (twice,)
        for a, b in itertools.pairwise(part.indptr.tolist())
    }
    kept = distinct_rows(twice)
    assert len(kept.lengths) == len(rows) < len(twice.lengths)
    assert {
        (tuple(kept.indices[a:b]), () if kept.wanted is None else tuple(kept.wanted[a:b]))
        for a, b in itertools.pairwise(kept.indptr.tolist())
    } == rows


# --- the checker and the errors ---


@given(
    questions(), st.lists(st.integers(-1, 2), min_size=14, max_size=14), st.sampled_from(["rows", "columns"])
)
def test_the_checker_complains_exactly_when_reading_fails(question, colours, first):
    m, n = question[0].shape
    # Number the colours that occur without gaps, -1 apart.
    rows, columns = (
        np.unique(np.append(part, -1), return_inverse=True)[1][:-1].astype(np.int32) - 1
        for part in (np.array(colours[:m], int), np.array(colours[7 : 7 + n], int))
    )
    made = Colouring(
        (m, n), columns, rows, columns.max(initial=-1) + 1, rows.max(initial=-1) + 1, 0, "made up", first
    )
    assert (check(made, *question) == []) == reads_back(made, *question)


def test_planted_errors_are_told_in_words():
    pattern = banded(6, 1, 1)
    good = colour_columns(pattern)
    colours = np.array([0, 1, 2, 2, 0, 1], np.int32)
    assert check(replace(good, column_colours=colours), pattern) == [
        "in colour 2, columns 2 and 3 both have nonzeros in row 2",
        "in colour 2, columns 2 and 3 both have nonzeros in row 3",
    ]
    by_rows = replace(colour_rows(pattern), row_colours=colours)
    assert "in colour 2, rows 2 and 3 both have nonzeros in column 3" in check(by_rows, pattern)
    unseeded = np.array([0, 1, 2, 0, 1, -1], np.int32)
    assert check(replace(good, column_colours=unseeded), pattern) == [
        "entry (4, 5) is wanted, but neither row 4 nor column 5 has a colour",
        "entry (5, 5) is wanted, but neither row 5 nor column 5 has a colour",
    ]
    assert check(replace(good, forward=4), pattern) == [
        "the column colours are [0, 1, 2], expected 0 to 3, each used"
    ]
    assert check(good, banded(7, 1, 1)) == ["the colouring is for shape (6, 6), the pattern has shape (7, 7)"]
    assert check(replace(good, column_colours=colours[:5]), pattern) == [
        "there are 5 column colours for 6 columns"
    ]
    assert check(colour_columns(banded(6, 0, 0)), banded(6, 0, 0), banded(6, 0, 1))[0] == (
        "entry (0, 1) is wanted but is not in the pattern"
    )


@pytest.mark.parametrize("colour", SIDES)
def test_input_that_does_not_fit_is_refused(colour):
    band = banded(5, 1, 1)
    with pytest.raises(TypeError, match="pattern is a ndarray, expected a two-dimensional scipy sparse"):
        colour(np.eye(3))
    with pytest.raises(ValueError, match=r"wanted has shape \(4, 4\), expected the pattern's shape \(5, 5\)"):
        colour(band, banded(4, 1, 1))
    with pytest.raises(ValueError, match="wanted has 3 entries outside the pattern"):
        colour(band, banded(5, 0, 2))
    for effort in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="effort is"):
            colour(band, effort=effort)


def test_entries_that_no_seed_shows_are_refused():
    found = colour_columns(banded(5, 1, 1), dense(np.eye(5) * [1, 1, 1, 0, 1]))
    with pytest.raises(ValueError, match=r"wanted contains entry \(2, 3\), which is in no seed"):
        entries(found, banded(5, 1, 1))
    with pytest.raises(ValueError, match=r"wanted has shape \(4, 4\), the colouring is for shape \(5, 5\)"):
        entries(found, banded(4, 0, 0))
