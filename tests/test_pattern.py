"""The pattern algebra against dense NumPy booleans, in every storage form."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from jacmap.engine.graph import Pattern, dependence
from jacmap.engine.graph.pattern import stack


def dense_of(pattern):
    """The definition, entry by entry: rows ∘ core ∘ cols."""
    rows = np.arange(pattern.shape[0]) if pattern.rows is None else pattern.rows
    cols = np.arange(pattern.shape[1]) if pattern.cols is None else pattern.cols
    core = np.eye(pattern.core_shape[0], dtype=bool) if pattern.core is None else pattern.core.toarray()
    out = np.zeros(pattern.shape, bool)
    for i, r in enumerate(rows):
        for j, c in enumerate(cols):
            out[i, j] = r >= 0 and c >= 0 and core[r, c]
    return out


@st.composite
def patterns(draw, rows=None, cols=None):
    m = draw(st.integers(1, 7)) if rows is None else rows
    n = draw(st.integers(1, 7)) if cols is None else cols
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    groups = draw(st.integers(1, 4))

    def index(size, length):
        return rng.integers(-1, size, length).astype(np.int32)

    forms = ["empty", "full", "selection", "grouped", "csr", "row map", "column map", "both maps"]
    form = draw(st.sampled_from([*forms, "identity"] if m == n else forms))
    if form == "identity":
        return Pattern.identity(n)
    if form in ("empty", "full"):
        return getattr(Pattern, form)((m, n))
    if form == "selection":
        return Pattern.selection(index(n, m), n)
    if form == "grouped":
        return Pattern.grouped(index(groups, m), index(groups, n), groups)
    inner = (groups if form in ("row map", "both maps") else m, groups if form in ("column map", "both maps") else n)
    core = csr_array(rng.random(inner) < draw(st.sampled_from([0.0, 0.3, 1.0])))
    row_map = index(groups, m) if inner[0] is groups and form != "column map" else None
    col_map = index(groups, n) if inner[1] is groups and form != "row map" else None
    return Pattern((m, n), row_map, core, col_map)


SIZES = st.integers(1, 6)


@given(patterns())
def test_what_a_pattern_is(p):
    dense = dense_of(p)
    np.testing.assert_array_equal(p.todense(), dense)
    assert p.tocsr().has_canonical_format
    assert p.nnz == dense.sum() == p.tocsr().nnz
    assert not p.is_empty or not dense.any()
    assert not p.is_full or dense.all()
    np.testing.assert_array_equal(p.T.todense(), dense.T)
    assert p.T.nnz == p.nnz


@given(st.data(), patterns())
def test_rows_and_columns(data, p):
    m, n = p.shape
    index = np.array(data.draw(st.lists(st.integers(-1, m - 1), max_size=9)), np.int32)
    expected = np.where(index[:, None] < 0, False, dense_of(p)[index])
    np.testing.assert_array_equal(p.take(index).todense(), expected)
    start = data.draw(st.integers(0, n))
    stop = data.draw(st.integers(start, n))
    np.testing.assert_array_equal(p.columns(start, stop).todense(), dense_of(p)[:, start:stop])


@given(st.data(), SIZES, SIZES)
def test_union(data, m, n):
    p, q = data.draw(patterns(m, n)), data.draw(patterns(m, n))
    union = p | q
    np.testing.assert_array_equal(union.todense(), dense_of(p) | dense_of(q))
    assert union.nnz == (dense_of(p) | dense_of(q)).sum()


@given(st.data(), SIZES, SIZES, SIZES, SIZES)
def test_composition(data, m, k, h, n):
    p, q, r = data.draw(patterns(m, k)), data.draw(patterns(k, h)), data.draw(patterns(h, n))
    a, b, c = (dense_of(x).astype(int) for x in (p, q, r))
    np.testing.assert_array_equal((p @ q).todense(), a @ b > 0)
    both = p @ q @ r
    np.testing.assert_array_equal(both.todense(), a @ b @ c > 0)
    assert both.nnz == (a @ b @ c > 0).sum()
    np.testing.assert_array_equal(both.T.todense(), (r.T @ (q.T @ p.T)).todense())


@given(st.data(), SIZES, st.integers(1, 4))
def test_stack(data, n, count):
    parts = [data.draw(patterns(cols=n)) for _ in range(count)]
    np.testing.assert_array_equal(stack(parts).todense(), np.concatenate([dense_of(p) for p in parts]))
    one = parts[0]
    np.testing.assert_array_equal(
        stack([one, one.take(np.arange(one.shape[0])[::-1])]).todense(),
        np.concatenate([dense_of(one), dense_of(one)[::-1]]),
    )


@given(st.data(), SIZES, SIZES)
def test_repeated_is_the_kronecker_product(data, t, s):
    steps = np.random.default_rng(data.draw(st.integers(0, 999))).random((t, s)) < 0.5
    p = data.draw(patterns())
    found = dependence.repeated(csr_array(steps), p)
    np.testing.assert_array_equal(found.todense(), np.kron(steps, dense_of(p)))


def test_a_large_union_of_unlike_groupings():
    # Past 64 rows the refinement of two groupings is estimated from a sample.
    rng = np.random.default_rng(0)
    for groups in (3, 40, 300):
        p = Pattern.grouped(rng.integers(-1, groups, 300), rng.integers(-1, groups, 200), groups)
        q = Pattern((300, 200), rng.integers(-1, 50, 300), csr_array(rng.random((50, 200)) < 0.1))
        np.testing.assert_array_equal((p | q).todense(), dense_of(p) | dense_of(q))


# -- kinds of dependence, by brute force --------------------------------------------------------------------------


def brute(out, inp, depends):
    return np.array([[depends(o, i) for i in np.ndindex(*inp)] for o in np.ndindex(*out)])


@given(
    st.integers(1, 7), st.integers(1, 3), st.integers(1, 3), st.integers(-2, 3), st.integers(1, 3), st.integers(1, 3),
    st.integers(1, 6),
)  # fmt: skip
def test_sliding(inp, window, stride, pad, base, dilation, out):
    found = dependence.sliding(out, inp, window, stride, pad, base, dilation)
    expected = brute(
        (out,), (inp,), lambda o, i: any(o[0] * stride + k * dilation - pad == i[0] * base for k in range(window))
    )
    np.testing.assert_array_equal(found.toarray(), expected)


@given(st.data(), st.permutations(range(3)))
def test_windows(data, order):
    out, inp = ([data.draw(st.integers(1, 3)) for _ in range(3)] for _ in range(2))
    a, b, c = order
    inp[a] = out[a]
    core = np.random.default_rng(data.draw(st.integers(0, 999))).random((out[b], inp[c])) < 0.5
    found = dependence.windows(tuple(out), tuple(inp), {b: csr_array(core)}, [(a, a)], {b: c})
    expected = brute(out, inp, lambda o, i: o[a] == i[a] and core[o[b], i[c]])
    np.testing.assert_array_equal(found.todense(), expected)


@given(st.data(), st.sampled_from(["ij,jk->ik", "bij,bjk->bik", "ij,ji->", "kbi,jbk->bij", "i,j->ij", "bi,i->b"]))
def test_contraction_with_known_zeros(data, spec):
    """The mask of one side thins the other: against products of booleans."""
    left, rest = spec.split(",")
    right, out = rest.split("->")
    extent = {letter: data.draw(st.integers(1, 3)) for letter in "bijk"}
    shapes = {side: tuple(extent[x] for x in side) for side in (left, right, out)}
    mask = np.random.default_rng(data.draw(st.integers(0, 999))).random(shapes[right]) < 0.5
    contracted = [x for x in left if x in right and x not in out]
    batch = [x for x in left if x in right and x in out]
    found = dependence.contraction(
        shapes[out],
        shapes[left],
        paired=[(out.index(x), left.index(x)) for x in left if x in out],
        contracted=[left.index(x) for x in contracted],
        other=(
            shapes[right],
            mask,
            [right.index(x) for x in contracted],
            [(right.index(x), left.index(x)) for x in batch],
            [(right.index(x), out.index(x)) for x in right if x in out and x not in batch],
        ),
    )
    size = int(np.prod(shapes[left]))
    columns = [np.einsum(spec, unit.reshape(shapes[left]), mask.astype(float)).ravel() != 0 for unit in np.eye(size)]
    np.testing.assert_array_equal(found.todense(), np.array(columns).reshape(size, -1).T)
