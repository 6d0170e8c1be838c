"""Names of patterns: every claim is checked entry by entry on the dense matrix by slow, obvious code."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse

from jacmap.engine.graph.matching import maximum_matching
from jacmap.engine.graph.picture import braille, grid
from jacmap.engine.graph.recognise import recognise


def ones(m, n):
    return np.ones((m, n), dtype=bool)


def eye(m, n=None, k=0):
    return np.eye(m, n, k=k, dtype=bool)


def band(n, lower, upper, m=None):
    return np.triu(np.tril(ones(m or n, n), upper), -lower)


def arrow(n, rest=None):
    matrix = eye(n) if rest is None else rest.copy()
    matrix[0] = matrix[:, 0] = True
    return matrix


def laplacian(side):
    return np.kron(eye(side), band(side, 1, 1)) | np.kron(band(side, 1, 1), eye(side))


def shuffled(matrix, seed=0, symmetric=False):
    rng = np.random.default_rng(seed)
    rows = rng.permutation(matrix.shape[0])
    return matrix[rows][:, rows if symmetric else rng.permutation(matrix.shape[1])]


def name(matrix, **options):
    structure = recognise(sparse.csr_array(matrix), **options)
    check(structure, np.asarray(matrix, dtype=bool))
    return structure


# --- the slow, obvious checker ------------------------------------------------------------------------------


def components(matrix):
    """Sets of (rows, columns) that share entries, by merging until nothing changes."""
    parts = [({i}, set(np.flatnonzero(row))) for i, row in enumerate(matrix) if row.any()]
    merged = []
    for rows, columns in parts:
        joined = [part for part in merged if part[1] & columns]
        merged = [part for part in merged if not part[1] & columns]
        merged.append((rows.union(*(p[0] for p in joined)), columns.union(*(p[1] for p in joined))))
    return merged


def generic_rank(matrix):
    """The structural rank is the rank for almost all values; here by exact elimination modulo a prime."""
    prime = 2**31 - 1
    rest = matrix * np.random.default_rng(1).integers(1, prime, matrix.shape)
    rank = 0
    for j in range(matrix.shape[1]):
        pivots = np.flatnonzero(rest[rank:, j])
        if len(pivots):
            rest[[rank, rank + pivots[0]]] = rest[[rank + pivots[0], rank]]
            factors = rest[rank + 1 :, j] * pow(int(rest[rank, j]), -1, prime) % prime
            rest[rank + 1 :] = (rest[rank + 1 :] - factors[:, None] * rest[rank] % prime) % prime
            rank += 1
    return rank


def check_band(offsets, bandwidths):
    assert bandwidths == (max(0, -min(offsets, default=0)), max(0, max(offsets, default=0)))


def check_blocks(blocks, matrix, row_labels, column_labels):
    """Entries only inside blocks, every block connected, sizes and order as stated."""
    for i, j in np.argwhere(matrix):
        assert row_labels[i] == column_labels[j] >= 0
    labels = sorted(set(row_labels) - {-1})
    assert labels == sorted(set(column_labels) - {-1}) == list(range(blocks.count))
    np.testing.assert_array_equal(row_labels >= 0, matrix.any(axis=1))
    np.testing.assert_array_equal(column_labels >= 0, matrix.any(axis=0))
    assert blocks.count == len(components(matrix))


def check_sizes(blocks):
    sizes = {(np.sum(blocks.row_labels == b), np.sum(blocks.column_labels == b)) for b in range(blocks.count)}
    assert blocks.uniform == (next(iter(sizes)) if len(sizes) == 1 else None)
    ordered = [
        list(lab[lab >= 0]) == sorted(lab[lab >= 0]) for lab in (blocks.row_labels, blocks.column_labels)
    ]
    assert not blocks.contiguous or all(ordered)


def check(structure, matrix):
    m, n = matrix.shape
    assert structure.shape == (m, n)
    assert structure.admits >= matrix.sum()
    assert str(structure) == structure.text
    rows, columns = np.arange(m), np.arange(n)
    if structure.row_order is not None:
        rows, columns = structure.row_order, structure.column_order
        assert sorted(rows) == list(range(m))
        assert sorted(columns) == list(range(n))
        assert "after permutation" in structure.text
    permuted = matrix[rows][:, columns]
    offsets = [j - i for i, j in np.argwhere(permuted)]
    blocks = structure.blocks
    match structure.kind:
        case "empty":
            assert not matrix.any()
        case "scalar" | "gradient" | "column":
            assert min(m, n) == 1
        case "dense":
            assert matrix.mean() > 0.5
            assert (structure.text == "dense") == bool(matrix.all())
        case "diagonal":
            assert set(offsets) == {0}
        case "diagonals":
            listed = structure.text.partition(" = ")[2].partition(";")[0]
            assert sorted(set(offsets)) == [int(k) for k in listed.split(", ")]
            check_band(offsets, structure.bandwidths)
        case "banded":
            check_band(offsets, structure.bandwidths)
        case "lower-triangular":
            assert max(offsets) <= (-1 if "strictly" in structure.text else 0)
        case "upper-triangular":
            assert min(offsets) >= (1 if "strictly" in structure.text else 0)
        case "block-diagonal":
            check_blocks(blocks, matrix, blocks.row_labels, blocks.column_labels)
            check_sizes(blocks)
            assert blocks.contiguous == (structure.row_order is None)
            check_blocks(blocks, permuted, blocks.row_labels[rows], blocks.column_labels[columns])
            for labels in (blocks.row_labels[rows], blocks.column_labels[columns]):
                inside = labels[labels >= 0]
                assert list(inside) == sorted(inside)
        case "block-lower-triangular" | "block-upper-triangular":
            check_sizes(blocks)
            sign = 1 if "lower" in structure.kind else -1
            for i, j in np.argwhere(matrix):
                assert sign * blocks.row_labels[i] >= sign * blocks.column_labels[j]
            for labels in (blocks.row_labels[rows], blocks.column_labels[columns]):
                assert list(labels) == sorted(labels)
        case "arrow":
            check_arrow(structure, matrix)
        case "low-rank":
            assert "narrow cut" in structure.text
        case kind:
            assert kind == "sparse"
            assert matrix.mean() <= 0.5
    if structure.structural_rank is not None:
        assert structure.structural_rank == generic_rank(matrix)


def check_arrow(structure, matrix):
    m, n = matrix.shape
    assert all(matrix[i].sum() >= n / 2 for i in structure.dense_rows)
    assert all(matrix[:, j].sum() >= m / 2 for j in structure.dense_columns)
    rest = matrix.copy()
    rest[structure.dense_rows] = rest[:, structure.dense_columns] = False
    if structure.blocks is not None:
        check_blocks(structure.blocks, rest, structure.blocks.row_labels, structure.blocks.column_labels)
    elif structure.bandwidths is None:
        assert not rest.any()
    else:
        rows = np.arange(m) if structure.row_order is None else structure.row_order
        columns = np.arange(n) if structure.row_order is None else structure.column_order
        in_place = [j - i for i, j in np.argwhere(rest[rows][:, columns])]
        kept = np.ix_(
            [i for i in rows if i not in structure.dense_rows],
            [j for j in columns if j not in structure.dense_columns],
        )
        closed = [j - i for i, j in np.argwhere(matrix[kept])]
        lower, upper = structure.bandwidths
        assert any(all(-lower <= k <= upper for k in offsets) for offsets in (in_place, closed))


# --- names --------------------------------------------------------------------------------------------------

BORDERED = np.hstack([np.kron(eye(5), ones(3, 4)), ones(15, 2)])
PERIODIC = band(20, 1, 1) | eye(20, k=19) | eye(20, k=-19)
CAUSAL = np.tril(ones(16, 16))
UNEVEN = np.zeros((11, 15), dtype=bool)
UNEVEN[:2, :2] = UNEVEN[2:6, 2:8] = UNEVEN[6:, 8:] = True


@pytest.mark.parametrize(
    ("matrix", "text"),
    [
        (eye(5), "diagonal"),
        (eye(5, 3), "diagonal (5×3)"),
        (np.diag([True, False, True]), "diagonal; structural rank 2 of 3"),
        (eye(6)[::-1], "diagonal after permutation"),
        (eye(9, 10, k=1), "one diagonal at column - row = 1"),
        (band(3, 1, 1), "banded (lower 1, upper 1)"),
        (band(40, 1, 2), "banded (lower 1, upper 2)"),
        (band(50, 0, 2, 48), "banded (lower 0, upper 2)"),
        (laplacian(12), "5 diagonals at column - row = -12, -1, 0, 1, 12"),
        (PERIODIC, "5 diagonals at column - row = -19, -1, 0, 1, 19"),
        (np.kron(eye(16), ones(5, 39)), "block-diagonal: 16 blocks of 5×39"),
        (
            np.kron(ones(5, 39), eye(16)),
            "block-diagonal after permutation: 16 blocks of 5×39 (rows and columns interleaved)",
        ),
        (
            np.kron(ones(1, 4), eye(6)),
            "block-diagonal after permutation: 6 blocks of 1×4 (columns interleaved)",
        ),
        (np.kron(eye(6), ones(4, 1)), "block-diagonal: 6 blocks of 4×1"),
        (
            np.kron(eye(6), [[True, False, True]] * 2),
            "block-diagonal: 6 blocks of 2×2, 6 empty columns",
        ),
        (
            np.kron(eye(8), np.tril(ones(10, 10))),
            "block-diagonal: 8 blocks of 10×10 (each lower triangular)",
        ),
        (
            np.kron(band(30, 1, 1), eye(4)),
            "block-diagonal after permutation: 4 blocks of 30×30 "
            "(rows and columns interleaved; each banded (lower 1, upper 1))",
        ),
        (UNEVEN, "block-diagonal: 3 blocks of sizes 2×2 to 5×7"),
        (shuffled(UNEVEN), "block-diagonal after permutation: 3 blocks of sizes 2×2 to 5×7"),
        (np.tril(ones(9, 9)), "lower triangular"),
        (np.triu(ones(9, 9)), "upper triangular"),
        (np.tril(ones(9, 9), -1), "strictly lower triangular; structural rank 8 of 9"),
        (np.triu(ones(9, 9), 1), "strictly upper triangular; structural rank 8 of 9"),
        (shuffled(np.tril(ones(9, 9))), "lower triangular after permutation"),
        (
            shuffled(np.tril(ones(9, 9), -1), symmetric=True),
            "strictly lower triangular after permutation; structural rank 8 of 9",
        ),
        (np.kron(CAUSAL, ones(8, 8)), "block lower triangular: 16 diagonal blocks of 8×8"),
        (np.kron(CAUSAL, ones(8, 4)), "block lower triangular: 16 diagonal blocks of 8×4"),
        (np.kron(CAUSAL.T, ones(8, 4)), "block upper triangular: 16 diagonal blocks of 8×4"),
        (
            shuffled(np.kron(CAUSAL, ones(8, 8))),
            "block lower triangular after permutation: 16 diagonal blocks of 8×8",
        ),
        (arrow(12), "arrow: 1 dense row and 1 dense column beside a diagonal"),
        (np.vstack([ones(1, 9), eye(9)]), "arrow: 1 dense row beside a diagonal"),
        (arrow(40, band(40, 1, 1)), "arrow: 1 dense row and 1 dense column beside a band (lower 1, upper 1)"),
        (shuffled(arrow(12)), "arrow after permutation: 1 dense row and 1 dense column beside a diagonal"),
        (BORDERED, "arrow: 2 dense columns beside 5 blocks of 3×4"),
        (shuffled(BORDERED), "arrow after permutation: 2 dense columns beside 5 blocks of 3×4"),
        (
            np.vstack([ones(1, 6), np.zeros((4, 6), bool)]),
            "arrow: 1 dense row beside zeros; structural rank 1 of 5",
        ),
        (
            shuffled(band(300, 1, 1), symmetric=True),
            "banded after permutation (lower 1, upper 1)",
        ),
        (ones(3, 4), "dense"),
        (~eye(20), "nearly dense: 95 % of the entries"),
        (~eye(200), "nearly dense: all but 200 of 40000 entries"),
        (ones(1, 4), "gradient (one row)"),
        (eye(1, 4), "gradient (one row, 1 of 4 entries)"),
        (ones(4, 1), "one column"),
        (ones(1, 1), "scalar (1×1)"),
        (ones(0, 4), "empty (0×4)"),
        (ones(4, 0), "empty (4×0)"),
        (~ones(3, 4), "empty: no output depends on any input"),
    ],
)
def test_a_pattern_is_called(matrix, text):
    assert str(name(matrix)) == text


def test_a_band_is_found_behind_different_orders_of_rows_and_columns():
    structure = name(shuffled(band(300, 1, 1)))
    assert structure.kind == "banded"
    assert max(structure.bandwidths) <= 10  # the row of each column is not unique, so neither is the band


def test_a_few_scattered_entries_are_not_called_diagonals():
    matrix = np.zeros((30, 30), dtype=bool)
    matrix[[0, 0, 25], [3, 20, 20]] = True
    assert name(matrix).kind != "diagonals"


def test_a_random_pattern_is_sparse():
    matrix = np.random.default_rng(0).random((60, 60)) < 0.06
    assert str(name(matrix)).startswith(f"sparse: {100 * matrix.mean():.2g} % of the entries")


@pytest.mark.parametrize(
    ("matrix", "bound", "text"),
    [
        (ones(30, 40), 4, "low rank: at most 4 of 30 through a narrow cut"),
        (ones(30, 40), 30, "dense"),
        (eye(30), 4, "diagonal; rank at most 4 of 30 through a narrow cut"),
        (np.tril(ones(9, 9), -1), 8, "strictly lower triangular; structural rank 8 of 9"),
        (~eye(20), 4, "low rank: at most 4 of 20 through a narrow cut; 95 % of the entries"),
    ],
)
def test_a_bound_on_the_rank_is_named_where_it_says_something(matrix, bound, text):
    assert str(name(matrix, rank_bound=bound)) == text


# --- any pattern --------------------------------------------------------------------------------------------

sizes = st.integers(1, 6)


@st.composite
def structured(draw):
    """A matrix with a form, as it is or with rows and columns shuffled, perhaps with entries missing."""
    n, p, q = draw(st.integers(2, 9)), draw(sizes), draw(sizes)
    matrix = draw(
        st.sampled_from(
            [
                eye(n, n + p - 1),
                band(n + p, draw(st.integers(0, 2)), draw(st.integers(0, 2))),
                np.kron(eye(n), ones(p, q)),
                np.kron(ones(p, q), eye(n)),
                np.tril(ones(n, n)),
                np.kron(np.tril(ones(n, n)), ones(p, q)),
                np.kron(np.triu(ones(n, n), 1), ones(p, p)),
                arrow(n + 2),
                arrow(n + 4, eye(n + 4) | eye(n + 4, k=1)),
                laplacian(min(n, 6)),
            ]
        )
    )
    holes = draw(st.sampled_from([0.0, 0.0, 0.1, 0.5]))
    matrix = matrix & (np.random.default_rng(draw(st.integers(0, 99))).random(matrix.shape) >= holes)
    order = draw(st.sampled_from(["kept", "both alike", "each"]))
    if order == "kept" or (order == "both alike" and matrix.shape[0] != matrix.shape[1]):
        return matrix
    return shuffled(matrix, draw(st.integers(0, 99)), symmetric=order == "both alike")


@given(structured())
def test_what_is_claimed_of_a_structured_pattern_holds(matrix):
    name(matrix)


@given(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=7)))
def test_what_is_claimed_of_any_pattern_holds(matrix):
    name(matrix)


@given(st.integers(3, 8), st.integers(1, 4), st.integers(1, 4), st.integers(0, 99))
def test_hidden_blocks_are_found_as_such(n, p, q, seed):
    structure = name(shuffled(np.kron(eye(n), ones(p, q)), seed))
    if p == q == 1:
        assert structure.kind in ("diagonal", "diagonals")
    else:
        assert structure.kind == "block-diagonal"
        assert structure.blocks.uniform == (p, q)


@given(st.integers(4, 20), st.integers(0, 99), st.floats(0.0, 0.7))
def test_a_hidden_triangle_is_found(n, seed, holes):
    full = np.tril(np.random.default_rng(seed).random((n, n)) >= holes) | eye(n)
    assert name(shuffled(full, seed)).kind != "sparse"


@given(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9)))
def test_a_matching_is_valid_and_as_large_as_the_generic_rank(matrix):
    match = maximum_matching(sparse.csr_array(matrix))
    rows = np.flatnonzero(match >= 0)
    assert matrix[rows, match[rows]].all()
    assert len(set(match[rows])) == len(rows) == generic_rank(matrix)


def test_a_hidden_block_triangle_is_matched_without_an_explosion():
    """SciPy's own matching does not come back from this one within minutes."""
    rng = np.random.default_rng(0)
    matrix = shuffled(np.kron(np.tril(ones(200, 200)), rng.random((5, 5)) < 0.8) | eye(1000))
    structure = recognise(sparse.csr_array(matrix))
    assert str(structure) == "block lower triangular after permutation: 200 diagonal blocks of 5×5"


def test_a_million_unknowns():
    n = 10**6
    diagonals = sparse.diags_array([np.ones(n - 1), np.ones(n), np.ones(n - 1)], offsets=[-1, 0, 1])
    assert str(recognise(diagonals.tocsr().astype(bool))) == "banded (lower 1, upper 1)"


# --- input --------------------------------------------------------------------------------------------------


def test_repeated_unsorted_and_false_entries_are_read_right_and_left_alone():
    data, indices = np.array([True, True, True, False]), np.array([1, 0, 0, 1])
    given_pattern = sparse.csr_array((data, indices, np.array([0, 1, 4])), shape=(2, 2))
    assert str(recognise(given_pattern)) == "diagonal after permutation"
    np.testing.assert_array_equal(given_pattern.indices, [1, 0, 0, 1])
    assert given_pattern.nnz == 4


@pytest.mark.parametrize("convert", [sparse.csr_matrix, sparse.coo_array, sparse.csc_array])
def test_every_sparse_format_is_read(convert):
    assert str(recognise(convert(eye(4)))) == "diagonal"


def test_values_that_cancel_are_still_entries():
    doubled = sparse.coo_array(([1.0, -1.0, 1.0], ([0, 0, 1], [0, 0, 1])), shape=(2, 2))
    csr = sparse.csr_array((doubled.data, doubled.col, np.array([0, 2, 3])), shape=(2, 2))
    assert str(recognise(csr)) == "diagonal"


def test_bad_input_is_named():
    with pytest.raises(
        TypeError, match=r"pattern: got ndarray, expected a SciPy sparse.*csr_array\(pattern\)"
    ):
        recognise(eye(3))
    with pytest.raises(ValueError, match=r"pattern: got 1 dimension.*expected 2"):
        recognise(sparse.coo_array(np.ones(3)))
    with pytest.raises(ValueError, match="rank_bound: got -1, expected a count >= 0"):
        recognise(sparse.csr_array(eye(3)), rank_bound=-1)


# --- pictures -----------------------------------------------------------------------------------------------

# Dots 1 to 8 of Unicode's braille block as (row, column), in the order of their bits.
DOTS = [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1), (3, 0), (3, 1)]


def decode(picture):
    lines = picture.split("\n")
    dots = np.zeros((4 * len(lines), 2 * len(lines[0])), dtype=bool)
    for i, line in enumerate(lines):
        for j, character in enumerate(line):
            for bit, (down, across) in enumerate(DOTS):
                dots[4 * i + down, 2 * j + across] = (ord(character) - 0x2800) >> bit & 1
    return dots


@given(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=48)))
def test_a_small_pattern_is_drawn_entry_by_entry(matrix):
    dots = decode(braille(sparse.csr_array(matrix)))
    m, n = matrix.shape
    assert dots.shape == (-(-m // 4) * 4, -(-n // 2) * 2)
    np.testing.assert_array_equal(dots[:m, :n], matrix)
    assert dots.sum() == matrix.sum()


@pytest.mark.parametrize(
    ("shape", "dots"),
    [((480, 480), (48, 48)), ((500, 300), (48, 29)), ((10, 8000), (10, 80)), ((40, 8000), (16, 80))],
)
def test_a_large_pattern_is_drawn_cell_by_cell(shape, dots):
    (m, n), (down, across) = shape, dots
    matrix = np.random.default_rng(0).random(shape) < 0.002
    expected = np.zeros(dots, dtype=bool)
    for i, j in np.argwhere(matrix):
        expected[i * down // m, j * across // n] = True
    drawn = decode(braille(sparse.csr_array(matrix)))
    np.testing.assert_array_equal(drawn[:down, :across], expected)
    assert drawn.sum() == expected.sum()


def test_the_size_of_a_picture_is_kept():
    picture = braille(eye(1000), width=10, height=3).split("\n")
    assert len(picture) == 3
    assert {len(line) for line in picture} == {8}  # as many columns of dots as rows: 12, or the least, 16
    assert braille(ones(0, 3)) == ""
    with pytest.raises(ValueError, match="width, height: got 0 and 12"):
        braille(eye(3), width=0)
    with pytest.raises(ValueError, match="pattern: got 1 dimension"):
        braille(np.ones(3))


def test_a_small_matrix_is_printed_with_aligned_points():
    matrix = np.array([[1.0, -1 / 3, 1e-9], [123456.0, 12.5, -0.0]])
    assert grid(matrix) == "1          -0.3333  1e-09\n1.235e+05  12.5     0"
    labelled = grid(matrix[:, :2], row_labels=["y0", "y1"], column_labels=["x0", "rate"])
    assert labelled.split("\n") == ["           x0     rate", "y0  1          -0.3333", "y1  1.235e+05  12.5"]


def test_every_number_in_a_grid_can_be_read_back():
    matrix = np.random.default_rng(0).normal(size=(8, 8)) * 10.0 ** np.arange(-4, 4)
    read = [[float(word) for word in line.split()] for line in grid(sparse.csr_array(matrix)).split("\n")]
    np.testing.assert_allclose(read, matrix, rtol=6e-4)
    assert grid(np.array([[1 + 2j, 3.0]])) == "1+2j  3+0j"


def test_a_grid_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="matrix: got 9×2, expected at most 8×8; slice it"):
        grid(np.ones((9, 2)))
    with pytest.raises(ValueError, match="matrix: got 1 dimension"):
        grid(np.ones(2))
    with pytest.raises(ValueError, match="column_labels: got 1 labels, expected 2"):
        grid(np.ones((2, 2)), column_labels=["a"])
