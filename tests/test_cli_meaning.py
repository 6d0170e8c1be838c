"""The sentences about a Jacobian, held against matrices whose geometry is known."""

import numpy as np
import pytest
import scipy.sparse

from jacmap._cli.meaning import sentences
from jacmap._labels import Labels


def said(matrix: np.ndarray | scipy.sparse.csr_array) -> str:
    rows, columns = matrix.shape
    return "\n".join(sentences(matrix, Labels([("x", (columns,))]), Labels([("y", (rows,))])))


@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        ([[3.0, -1.0], [1.0, 3.0]], "det J = 10: areas grow by 10×, orientation kept."),
        ([[0.0, 0.5], [0.5, 0.0]], "det J = -0.25: areas shrink to 0.25×, orientation flipped."),
        ([[0.0, -1.0], [1.0, 0.0]], "det J = 1: areas are kept, orientation kept."),
        ([[-4.0]], "det J = -4: lengths grow by 4×, orientation flipped."),
        (np.diag([1.0, 2.0, 3.0]), "volumes grow by 6×"),
        (np.eye(4) * 2, "4-dimensional volumes grow by 16×"),
        (np.eye(600) * 2, "log|det J| = 415.888: 600-dimensional volumes grow by e^415.9"),
        ([[1.0, 2.0], [2.0, 4.0]], "det J = 0 to working precision: areas collapse."),
        ([[1.0, 2.0], [2.0, 4.0]], "Rank 1 of at most 2: 1 independent direction of input move"),
        (np.zeros((2, 3)), "J is zero here: no input moves any output"),
        (np.zeros((2, 3)), "Rank 0 of at most 2: 3 independent directions of input"),
        (np.diag([3.0, 0.5]), "undone near this point. A small step is stretched at most 3×, at least 0.5×."),
        (np.ones((1, 3)), "Rank 1 of at most 1: every small change of the output can be reached"),
        (np.ones((3, 1)), "every small change of the input shows in the output"),
        ([[1.0, 0.0, 7.0], [0.0, 0.0, 0.0]], "Inputs by influence (column length): x[2] 7, x[0] 1."),
        ([[1.0, 0.0, 7.0], [0.0, 0.0, 0.0]], "Inputs that move nothing here: 1 of 3 (x[1])."),
        ([[1.0, 0.0, 7.0], [0.0, 0.0, 0.0]], "Outputs that do not move here: 1 of 2 (y[1])."),
        ([[3.0, 4.0], [0.0, 1.0]], "Outputs by sensitivity (row length): y[0] 5, y[1] 1."),
        ([[1.0, np.nan], [np.inf, 1.0]], "2 of the 4 entries of J are not finite (NaN or infinite), the first"),
        (np.ones((0, 3)), "J is empty"),
    ],
)
def test_words(matrix: list | np.ndarray, words: str) -> None:
    assert words in said(np.array(matrix))


def test_sparse_and_dense_say_the_same() -> None:
    generator = np.random.default_rng(0)
    matrix = np.where(generator.random((30, 40)) < 0.1, generator.standard_normal((30, 40)), 0)
    assert said(scipy.sparse.csr_array(matrix)) == said(matrix)


def test_a_large_sparse_matrix_is_never_made_dense() -> None:
    words = said(scipy.sparse.diags_array(np.arange(1.0, 1_000_001)).tocsr())
    assert "x[999999] 1e+06, x[999998] 1e+06" in words
    assert "not worked out" in words


def test_entries_are_named_within_their_leaf() -> None:
    labels = Labels([("w", (2, 3)), ("empty", (0,)), ("b", ()), ("c", (2,))])
    assert [labels[i] for i in (0, 5, 6, 7, 8)] == ["w[0, 0]", "w[1, 2]", "b", "c[0]", "c[1]"]
    assert len(labels) == 9
