"""Sensitivities over a data set, against plain sums of jax.jacfwd, closed forms and SALib."""

import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jacmap as jm

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
import ishigami  # noqa: E402


def plane(x: jax.Array) -> jax.Array:
    return jnp.stack([x[0] * x[1], jnp.sin(x[1]) + 0 * x[0], 3 * x[0]])


def normal(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, columns))


@pytest.mark.parametrize("batch", [None, 1, 7, 50])
def test_means_are_the_plain_means_whatever_the_batch(batch: int | None) -> None:
    data = normal(50, 2)
    found = jm.sensitivity(plane, data=data, batch=batch, resamples=30)
    matrices = np.asarray(jax.vmap(jax.jacfwd(plane))(jnp.asarray(data)))
    values = np.asarray(jax.vmap(plane)(jnp.asarray(data)))
    np.testing.assert_allclose(found.mean, matrices.mean(0), atol=1e-14)
    np.testing.assert_allclose(found.mean_absolute, abs(matrices).mean(0), rtol=1e-13)
    np.testing.assert_allclose(found.mean_square, (matrices**2).mean(0), rtol=1e-13)
    np.testing.assert_allclose(found.value_variance, values.var(0, ddof=1), rtol=1e-12)
    np.testing.assert_allclose(found.spread, data.std(0, ddof=1), rtol=1e-12)
    np.testing.assert_allclose(found.importance, data.std(0, ddof=1) * np.sqrt((matrices**2).mean(0)), rtol=1e-12)
    assert found.count == 50 and not found.left_out


def test_the_rank_of_each_input_and_its_direction() -> None:
    def f(x: jax.Array) -> jax.Array:
        return 3 * x[0] - jnp.exp(x[2]) / 2 + x[1] ** 3 / 20

    found = jm.sensitivity(f, data=normal(300, 4), inputs=["a", "b", "c", "d"])
    assert found.ranking.names() == ["a", "c", "b", "d"]
    assert found.unused == (3,)
    assert found.ranking.first is not None and found.ranking.first[0, 0] == 1
    np.testing.assert_array_equal(found.ranking.rank[0], [1, 3, 2, 4])
    text = str(found)
    assert "y is moved most by a (first in 100 % of 200 resamples" in text
    for name, direction in (("a", "always up"), ("c", "always down"), ("d", "none")):
        words = [name, *direction.split()]
        assert any(line.split()[: len(words)] == words for line in text.splitlines())
    assert "Never read by f (exactly zero everywhere): d." in text
    assert all(len(line) <= 100 for line in text.splitlines())


def test_ranks_that_the_data_do_not_settle_are_told() -> None:
    """Two inputs with the same effect: which comes first is a toss, and the resamples show it."""

    def f(x: jax.Array) -> jax.Array:
        return (x[:2] ** 2).sum() + 20 * x[2]

    found = jm.sensitivity(f, data=normal(200, 3), spread=1.0)
    assert found.ranking.interval is not None and found.stability is not None
    np.testing.assert_array_equal(found.ranking.interval[0], [[2, 3], [2, 3], [1, 1]])
    assert found.stability[0, 0] == 1 and found.stability[0, 1] < 0.97
    assert "2-3" in found.table()


def test_one_ranking_for_all_outputs() -> None:
    """Each output counts in its own standard deviations: a change of unit changes nothing."""
    data = normal(100, 3)

    def f(x: jax.Array) -> jax.Array:
        return jnp.stack([x[0] + 2 * x[1], x[2]])

    found = jm.sensitivity(f, data=data).overall
    other = jm.sensitivity(lambda x: f(x) * jnp.array([1e6, 1e-6]), data=data).overall
    np.testing.assert_allclose(found.importance, other.importance, rtol=1e-9)
    assert found.names() == ["x[2]", "x[1]", "x[0]"]
    values = np.stack([data[:, 0] + 2 * data[:, 1], data[:, 2]], 1)
    scaled = np.array([[1, 2, 0], [0, 0, 1]]) * data.std(0, ddof=1) / values.std(0, ddof=1)[:, None]
    np.testing.assert_allclose(found.importance[0], np.sqrt((scaled**2).sum(0)), rtol=1e-12)


def test_resamples_are_those_of_a_plain_bootstrap() -> None:
    """The spread of the resampled means is s/√N, as for any bootstrap of a mean; each takes N rows in all."""
    from jacmap.study.sensitivity.ranking import Resamples

    rows, square = 400, normal(400, 1, seed=4)[:, :, None] ** 2
    resamples = Resamples(2000, (1, 1), rows, seed=0)
    for start in range(0, rows, 64):
        part = square[start : start + 64]
        resamples.add(resamples.weights(len(part)), part, part[:, :, 0], part[:, :, 0] + 5)
    np.testing.assert_array_equal(resamples.total, rows)
    error = square.std() / np.sqrt(rows)
    assert abs(resamples.mean_square.std() / error - 1) < 0.06
    assert abs(resamples.mean_square.mean() - square.mean()) < 4 * error / np.sqrt(2000)
    np.testing.assert_allclose(resamples.variance.mean(), square.var(ddof=1), rtol=0.05)
    np.testing.assert_allclose(resamples.deviation, np.sqrt(resamples.variance), rtol=1e-9)


def test_a_spread_from_the_rows_is_resampled_with_them() -> None:
    """Of a linear function only the spread is uncertain; where it is given, nothing is."""
    data = normal(60, 2)
    free = jm.sensitivity(lambda x: x.sum(), data=data).ranking
    given = jm.sensitivity(lambda x: x.sum(), data=data, spread=[1.0, 1.1]).ranking
    assert free.stability is not None and given.stability is not None
    assert 0.5 < free.stability[0, 0] < 1
    assert given.stability[0, 0] == 1 and given.names() == ["x[1]", "x[0]"]


# -- Ishigami: closed forms, intervals, SALib ----------------------------------------------------------------------


def test_the_closed_forms_by_quadrature() -> None:
    nodes, weights = np.polynomial.legendre.leggauss(60)
    grid = np.pi * np.stack(np.meshgrid(nodes, nodes, nodes, indexing="ij"), axis=-1).reshape(-1, 3)
    weight = np.einsum("i,j,k->ijk", weights, weights, weights).ravel() / 8
    slopes = np.asarray(jax.vmap(jax.grad(ishigami.f))(jnp.asarray(grid)))
    values = np.asarray(jax.vmap(ishigami.f)(jnp.asarray(grid)))
    np.testing.assert_allclose(weight @ slopes**2, ishigami.MEAN_SQUARES, rtol=1e-10)
    np.testing.assert_allclose(weight @ values**2 - (weight @ values) ** 2, ishigami.VARIANCE, rtol=1e-10)


@pytest.mark.parametrize("rows", [30, 300])
def test_the_exact_value_lies_in_the_interval_as_often_as_it_says(rows: int) -> None:
    """A hundred repetitions at once: output r reads its own three inputs only."""

    def together(x: jax.Array) -> jax.Array:
        return jax.vmap(ishigami.f)(x.reshape(100, 3))

    data = np.random.default_rng(2).uniform(*ishigami.BOUNDS, (rows, 300))
    found = jm.sensitivity(together, data=data, resamples=0, progress=False)
    own = np.arange(100)[:, None], np.arange(300).reshape(100, 3)
    low, high = np.moveaxis(found.intervals.square[own], -1, 0)
    inside = ((low <= ishigami.MEAN_SQUARES) & (high >= ishigami.MEAN_SQUARES)).sum(axis=0)
    assert (inside >= 90).all(), inside
    assert (inside < 100).any(), "intervals that never miss are too wide"
    others = found.mean_square.copy()
    others[own] = 0
    assert not others.any()


def test_total_sobol_indices_lie_below_their_bound() -> None:
    found = jm.sensitivity(ishigami.f, data=ishigami.sample(4000), distribution="uniform", bounds=ishigami.BOUNDS)
    exact = 4 * ishigami.MEAN_SQUARES / ishigami.VARIANCE  # (2π)²/π² = 4
    assert (exact > ishigami.TOTAL).all()
    assert found.sobol_bound is not None and found.intervals.sobol is not None
    np.testing.assert_allclose(found.sobol_bound[0], exact, rtol=0.1)
    low, high = found.intervals.sobol[0].T
    assert ((low < exact) & (exact < high)).all()
    assert "S_tot at most" in str(found)


@pytest.mark.parametrize("rows", [50, 500])
def test_the_exact_bound_lies_in_its_interval_as_often_as_it_says(rows: int) -> None:
    def together(x: jax.Array) -> jax.Array:
        return jax.vmap(ishigami.f)(x.reshape(60, 3))

    data = np.random.default_rng(5).uniform(*ishigami.BOUNDS, (rows, 180))
    found = jm.sensitivity(together, data=data, distribution="uniform", bounds=ishigami.BOUNDS, progress=False)
    assert found.intervals.sobol is not None
    low, high = np.moveaxis(found.intervals.sobol[np.arange(60)[:, None], np.arange(180).reshape(60, 3)], -1, 0)
    exact = 4 * ishigami.MEAN_SQUARES / ishigami.VARIANCE
    inside = ((low <= exact) & (exact <= high)).sum(axis=0)
    assert (inside >= 53).all() and (inside < 60).any(), inside  # 95 % of 60 is 57; fewer than 53 are one in 100
    assert (found.intervals.sobol[0, 3:] == 0).all()  # inputs of the other outputs


def test_the_bound_is_sharp_for_a_linear_function_of_normal_inputs() -> None:
    """S_tot = a_j² σ_j² / Σ, and the bound is equal to it."""
    slope, sigma = np.array([1.0, 2.0, 3.0]), np.array([3.0, 1.0, 0.5])
    data = normal(20_000, 3) * sigma
    found = jm.sensitivity(lambda x: x @ slope, data=data, spread=sigma, distribution="normal")
    assert found.sobol_bound is not None
    np.testing.assert_allclose(found.sobol_bound[0], (slope * sigma) ** 2 / ((slope * sigma) ** 2).sum(), rtol=0.05)


def test_the_measure_is_salibs() -> None:
    """SALib's finite differences at the same rows give the same ν and the same bound."""
    from SALib.analyze import dgsm
    from SALib.sample import finite_diff

    problem = {"num_vars": 3, "names": ["a", "b", "c"], "bounds": [list(ishigami.BOUNDS)] * 3}
    steps = finite_diff.sample(problem, 256, delta=1e-7, seed=1)
    values = np.asarray(jax.vmap(ishigami.f)(jnp.asarray(steps)))
    theirs = dgsm.analyze(problem, steps, values, num_resamples=2, seed=1)
    ours = jm.sensitivity(ishigami.f, data=steps[::4], distribution="uniform", bounds=ishigami.BOUNDS, resamples=0)
    np.testing.assert_allclose(ours.mean_square[0], theirs["vi"], rtol=1e-4)
    assert ours.sobol_bound is not None
    scale = np.var(values[::4]) / np.var(values[::4], ddof=1)  # theirs divides by N
    np.testing.assert_allclose(ours.sobol_bound[0], np.asarray(theirs["dgsm"]) * scale, rtol=1e-4)


def test_moments_of_a_stream() -> None:
    from jacmap.study.sensitivity.intervals import Moments

    values = np.random.default_rng(3).gamma(0.5, size=(300, 2)) + [0.0, 1e4]
    moments = Moments((2,))
    for part in np.split(values, [1, 5, 90, 90, 299]):
        moments.add(part)
    np.testing.assert_allclose(moments.mean, values.mean(0), rtol=1e-14)
    np.testing.assert_allclose(moments.variance, values.var(0, ddof=1), rtol=1e-9)
    np.testing.assert_allclose(moments.skewness, stats.skew(values), rtol=1e-6)


def test_without_skewness_the_interval_is_students() -> None:
    from jacmap.study.sensitivity.intervals import Moments, of_mean

    values = np.array([[-3.0], [-1.0], [1.0], [3.0]]) + 10
    moments = Moments((1,))
    moments.add(values)
    ends = stats.t.interval(0.9, 3, loc=10, scale=stats.sem(values.ravel()))
    np.testing.assert_allclose(of_mean(moments, 0.9)[0], ends, rtol=1e-12)


# -- kinds of data -------------------------------------------------------------------------------------------------


def test_images_and_maps() -> None:
    images = normal(20, 12).reshape(20, 3, 4)
    found = jm.sensitivity(lambda x: jnp.stack([(x**2).sum(), x[0].sum()]), data=images, inputs="pixel")
    np.testing.assert_allclose(found.map(0), 2 * images.mean(0), atol=1e-13)
    np.testing.assert_allclose(found.map("y[0]", absolute=True), 2 * abs(images).mean(0))
    assert found.names[1][-1] == "pixel[2, 3]"


def test_a_pytree_of_columns() -> None:
    data = {"a": normal(30, 2), "b": np.arange(30)}
    found = jm.sensitivity(lambda p: p["a"].sum() * p["b"], data=data)
    np.testing.assert_allclose(found.mean[0], [14.5, 14.5, data["a"].sum(1).mean()])
    assert found.names[1] == ["x['a'][0]", "x['a'][1]", "x['b']"]


def test_nested_lists_and_scalars() -> None:
    assert jm.sensitivity(lambda x: x[0] * x[1], data=[[1, 2], [3, 4], [5, 6]]).mean.tolist() == [[4, 3]]
    assert jm.sensitivity(lambda x: x**2, data=[1.0, 2.0, 3.0]).mean.tolist() == [[4]]


def test_a_table_with_named_columns() -> None:
    class Table:
        columns = ("height", "weight")

        def to_numpy(self) -> np.ndarray:
            return normal(10, 2)

    assert jm.sensitivity(lambda x: x.prod(), data=Table()).names[1] == ["height", "weight"]
    assert jm.sensitivity(lambda x: x.prod(), jnp.ones(2), data=Table()).names[1] == ["height", "weight"]


def test_a_file_mapped_into_memory(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", normal(1000, 2).astype(np.float32))
    found = jm.sensitivity(plane, data=np.load(tmp_path / "rows.npy", mmap_mode="r"), batch=64, resamples=0)
    assert found.count == 1000 and found.layout.dtype == np.float32


def test_the_dictionary_is_json() -> None:
    found = jm.sensitivity(plane, data=normal(30, 2), distribution="normal")
    back = json.loads(json.dumps(found.to_dict()))
    assert back["shape"] == [3, 2] and len(back["ranking"]["order"]) == 3
    np.testing.assert_allclose(back["mean_square"], found.mean_square)


# -- what must be told, what is refused ----------------------------------------------------------------------------


def test_rows_without_a_finite_derivative_are_told() -> None:
    data = np.array([[1.0], [4.0], [0.0], [9.0], [0.0], [16.0]])
    found = jm.sensitivity(lambda x: jnp.sqrt(x[0]), data=data, batch=4)
    assert found.left_out == (2, 4) and found.count == 4
    np.testing.assert_allclose(found.mean[0, 0], np.mean([1 / 2, 1 / 4, 1 / 6, 1 / 8]))
    assert "Not finite at 2 of 6 rows (row 2, 4)" in str(found)
    with pytest.raises(jm.ArgumentError, match="finite at any of 3 rows"):
        jm.sensitivity(lambda x: jnp.sqrt(x[0]), data=np.zeros((3, 1)))


def test_a_constant_feature_is_told_and_has_no_importance() -> None:
    data = normal(20, 2)
    data[:, 1] = 0.1
    found = jm.sensitivity(lambda x: x[0] + 5 * x[1], data=data)
    assert found.importance[0, 1] == 0 and found.mean[0, 1] == 5
    assert "Constant in the data, so importance 0: x[1]." in str(found)


def test_few_rows_are_told() -> None:
    assert "Fewer than 20 rows" in str(jm.sensitivity(plane, data=normal(19, 2)))
    assert "Fewer than 20 rows" not in str(jm.sensitivity(plane, data=normal(20, 2)))


def test_one_row_is_a_point() -> None:
    found = jm.sensitivity(plane, data=np.array([[2.0, 3.0]]))
    np.testing.assert_allclose(found.mean, jax.jacfwd(plane)(jnp.array([2.0, 3.0])))
    assert np.isnan(found.intervals.square).all() and found.stability is None
    assert "One row: no spread" in str(found)


def test_correlated_inputs_have_no_bound() -> None:
    data = normal(200, 3)
    data[:, 2] = data[:, 0] + 0.3 * data[:, 2]
    text = str(jm.sensitivity(lambda x: x.sum(), data=data, distribution="normal")).replace("\n ", "")
    assert "Inputs are correlated (x[0] and x[2]: 0.9" in text and "the bound does not hold" in text
    assert "correlated" not in str(jm.sensitivity(lambda x: x.sum(), data=normal(200, 3), distribution="normal"))


def test_memory_bounds_the_resamples() -> None:
    found = jm.sensitivity(lambda x: x[:50] * x[50:], data=normal(40, 100), memory="10MB")
    assert found.ranking.resamples == 25
    assert "The memory holds 25 of the 200 resamples" in str(found)
    with pytest.raises(jm.ArgumentError, match="memory: 50×100 sensitivities take 0 MB"):
        jm.sensitivity(lambda x: x[:50] * x[50:], data=normal(40, 100), memory="100KB")


def test_control_c_goes_through(monkeypatch: pytest.MonkeyPatch) -> None:
    from jacmap.study.sensitivity.stream import Sums

    def interrupted(self: Sums, *_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Sums, "add", interrupted)
    with pytest.raises(KeyboardInterrupt):
        jm.sensitivity(plane, data=normal(10, 2))


BAD = normal(6, 2)
BAD[4, 1] = np.nan


@pytest.mark.parametrize(
    ("data", "options", "said"),
    [
        (BAD, {"inputs": ["a", "b"]}, "1 of 6 rows hold NaN or infinity, the first is row 4 at b"),
        (np.ones((5, 3)), {}, "plane cannot be called with a row of shape"),
        (np.ones((5, 2)), {"inputs": ["a"]}, "inputs: got 1 names, expected 2"),
        (np.ones((0, 2)), {}, r"got shape \(0, 2\), which is empty"),
        (np.ones((4, 0)), {}, "which is empty"),
        (np.array([["a", "b"]]), {}, "expected real numbers"),
        ([[1.0, 2.0], [3.0]], {}, "rows of different lengths"),
        ({"a": np.ones(3), "b": np.ones(4)}, {}, "one row per point along the first axis"),
        (3.0, {}, "one row per point"),
        (np.ones((5, 2)), {"level": 95}, "level: got 95"),
        (np.ones((5, 2)), {"resamples": -1}, "resamples: got -1"),
        (np.ones((5, 2)), {"batch": 0}, "batch: got 0"),
        (np.ones((5, 2)), {"distribution": "cauchy"}, "distribution: got 'cauchy'"),
        (np.ones((5, 2)), {"distribution": "uniform"}, "bounds: got None"),
        (np.ones((5, 2)), {"bounds": (0, 1)}, "bounds: got bounds without a distribution"),
        (np.ones((5, 2)), {"distribution": "uniform", "bounds": (1, 0)}, "lower bounds below"),
        (np.ones((5, 2)), {"distribution": "uniform", "bounds": (2, 3)}, "2 of 2 inputs lie beyond"),
        (np.ones((5, 2)), {"spread": [1.0, -1.0]}, "spread: got a negative"),
    ],
)  # fmt: skip
def test_bad_data(data: object, options: dict, said: str) -> None:
    def plane(x: jax.Array) -> jax.Array:
        return jnp.asarray([[1.0, 2.0], [3.0, 4.0]]) @ x

    with pytest.raises(jm.ArgumentError, match=said):
        jm.sensitivity(plane, data=data, **options)


def test_a_function_that_cannot_be_read() -> None:
    with pytest.raises(jm.TraceError, match="needs the value of an input"):
        jm.sensitivity(lambda x: x if x[0] > 0 else -x, data=normal(5, 2))


def test_a_function_of_no_real_numbers() -> None:
    with pytest.raises(jm.ArgumentError, match="returned int.*, expected real floating-point numbers"):
        jm.sensitivity(lambda x: jnp.argmax(x), data=normal(5, 2))
