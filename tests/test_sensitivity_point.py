"""Sensitivities at a point, propagation and the sanity check, against plain JAX and closed forms."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jacmap as jm


def gas(p: jax.Array) -> jax.Array:
    """Pressure and energy of a gas by amount, temperature and volume; the fourth input is not read."""
    amount, temperature, volume, _ = p
    return jnp.stack([8.314 * amount * temperature / volume, 12.5 * amount * temperature])


POINT = jnp.array([2.0, 300.0, 0.05, 1.0])
NAMES = ["amount", "temperature", "volume", "colour"]


@pytest.fixture(scope="module")
def found() -> jm.PointSensitivity:
    return jm.sensitivity(gas, POINT, spread=[0.1, 3.0, 0.001, 5.0], inputs=NAMES, outputs=["pressure", "energy"])


def test_absolute_relative_and_scaled(found: jm.PointSensitivity) -> None:
    matrix = np.asarray(jax.jacfwd(gas)(POINT))
    np.testing.assert_allclose(found.matrix, matrix, rtol=1e-14)
    # A product of powers has its exponents as elasticities.
    np.testing.assert_allclose(found.relative, [[1, 1, -1, 0], [1, 1, 0, 0]], atol=1e-14)
    np.testing.assert_allclose(found.scaled, matrix * [0.1, 3.0, 0.001, 5.0], rtol=1e-14)


def test_an_input_that_is_not_read_is_exactly_zero_and_said(found: jm.PointSensitivity) -> None:
    assert found.unused == (3,)
    assert (found.matrix[:, 3] == 0).all() and (found.scaled[:, 3] == 0).all()
    assert "Never read by gas (exactly zero everywhere): colour." in str(found)


def test_read_but_without_effect_is_told_apart_from_unread() -> None:
    found = jm.sensitivity(lambda x: jnp.maximum(x[0], 0.0) + x[1], jnp.array([-1.0, 2.0, 3.0]))
    assert found.unused == (2,)
    assert "Read, but without effect at this point: x[0]." in str(found)


def test_the_strongest_pair_comes_first(found: jm.PointSensitivity) -> None:
    lines = found.table(k=3).splitlines()
    assert len(lines) == 4
    assert lines[1].split()[:2] == ["pressure", "amount"]  # 4988.4 per spread of 0.1
    assert found.table(k=1, by="absolute").splitlines()[1].split()[:2] == ["pressure", "volume"]
    assert "pressure = 9.977e+04 is moved most by amount: +4.988e+04 per unit, +1 % per percent" in str(found)
    assert all(len(line) <= 100 for line in str(found).splitlines())


def test_no_relative_sensitivity_of_an_output_that_is_zero() -> None:
    found = jm.sensitivity(lambda x: jnp.stack([x[0] - x[1], x[0]]), jnp.array([3.0, 3.0]))
    assert np.isnan(found.relative[0]).all()
    np.testing.assert_array_equal(found.relative[1], [1, 0])
    assert "No relative sensitivity where the output is 0: y[0]." in str(found)
    assert json.loads(json.dumps(found.to_dict()))["relative"][0] == [None, None]


def test_names_follow_the_pytree() -> None:
    tree = {"w": jnp.arange(6.0).reshape(2, 3), "b": (jnp.array(1.0), jnp.ones(2))}

    def f(p: dict) -> dict:
        return {"y": p["w"] @ jnp.ones(3) * p["b"][0]}

    found = jm.sensitivity(f, tree)
    assert found.names[0] == ["y['y'][0]", "y['y'][1]"]
    assert found.names[1][:3] == ["x['b'][0]", "x['b'][1][0]", "x['b'][1][1]"]
    blocks = jax.jacrev(f)(tree)["y"]
    picture = found.map("y['y'][1]")
    assert jax.tree.structure(picture) == jax.tree.structure(tree)
    jax.tree.map(lambda mine, theirs: np.testing.assert_allclose(mine, theirs[1]), picture, blocks)


def test_a_map_has_the_shape_of_the_image() -> None:
    image = jnp.linspace(-1.0, 1.0, 24).reshape(2, 4, 3)
    found = jm.sensitivity(lambda x: jnp.stack([(x**2).sum(), -x.sum()]), image, inputs="pixel")
    np.testing.assert_allclose(found.map(0), 2 * image)
    np.testing.assert_allclose(found.map(0, absolute=True), abs(2 * image))
    assert found.names[1][-1] == "pixel[1, 3, 2]"


def test_a_jacobian_of_several_arguments() -> None:
    def f(a: jax.Array, k: float, b: jax.Array) -> jax.Array:
        return k * a * b

    found = jm.sensitivity(jm.linearize(f, jnp.array([1.0, 2.0]), 3.0, jnp.array([4.0, 5.0]), argnums=(0, 2)))
    np.testing.assert_allclose(found.matrix, [[12, 0, 3, 0], [0, 15, 0, 6]])
    assert found.names[1] == ["x[0][0]", "x[0][1]", "x[1][0]", "x[1][1]"]
    checked = found.propagate(0.01, samples=2000)
    np.testing.assert_allclose(checked.covariance, 0.01 * found.matrix @ found.matrix.T)
    assert checked.agrees


def test_spread_from_data() -> None:
    data = np.random.default_rng(0).normal(size=(50, 4)) * [1, 2, 3, 0]
    expected = np.std(data, axis=0, ddof=1)
    np.testing.assert_allclose(jm.sensitivity(gas, POINT, data=data).spread, expected, rtol=1e-12)
    assert "Spread 0, so scaled sensitivity 0: x[3]." in str(jm.sensitivity(gas, POINT, data=data))


# -- propagation ---------------------------------------------------------------------------------------------------


def test_an_affine_map_propagates_exactly() -> None:
    matrix = np.array([[1.0, 2.0, 0.0], [0.0, -1.0, 3.0]])
    root = np.random.default_rng(1).normal(size=(3, 3))
    sigma = root @ root.T
    found = jm.sensitivity(lambda x: jnp.asarray(matrix) @ x + 1.0, jnp.ones(3)).propagate(sigma, samples=20_000)
    np.testing.assert_allclose(found.covariance, matrix @ sigma @ matrix.T, rtol=1e-12)
    # Of normal values Var(s_ab) = (σ_aa σ_bb + σ_ab²)/N: the error that is stated, and the error that is made.
    true = np.sqrt((np.outer(np.diag(found.covariance), np.diag(found.covariance)) + found.covariance**2) / 20_000)
    np.testing.assert_allclose(found.standard_error, true, rtol=0.1)
    assert (abs(found.sampled_covariance - found.covariance) < 5 * true).all()
    assert found.agrees and "holds here" in found.verdict


@pytest.mark.parametrize(("sigma", "matrix"), [(0.25, np.eye(3) / 4), ([1.0, 4.0, 9.0], np.diag([1.0, 4.0, 9.0]))])
def test_one_variance_or_one_for_each(sigma: float | list, matrix: np.ndarray) -> None:
    found = jm.sensitivity(jnp.sin, jnp.array([0.1, 0.2, 0.3]))
    linear = found.propagate(sigma, samples=0).covariance
    np.testing.assert_allclose(linear, found.matrix @ matrix @ found.matrix.T, rtol=1e-12)


def test_the_square_at_its_bottom_is_told() -> None:
    """x² at 0 with x ~ N(0, σ²): J = 0, but the mean is σ² and the variance 2σ⁴."""
    found = jm.sensitivity(lambda x: x**2, jnp.array([0.0])).propagate(4.0, samples=50_000)
    assert found.covariance == 0
    np.testing.assert_allclose(found.sampled_covariance, 2 * 16, rtol=0.05)
    assert abs(found.sampled_mean - 4) < 5 * found.mean_error
    assert found.agrees is False
    assert "understates the standard deviation of y[0] by 100 %" in str(found)


def test_samples_that_are_not_finite_are_counted() -> None:
    found = jm.sensitivity(jnp.log, jnp.array([1.0])).propagate(1.0, samples=1000)
    assert 100 < found.left_out < 220  # P(x < 0) = 0.159
    assert f"not finite at {found.left_out} of 1000 samples" in str(found)


@pytest.mark.parametrize(
    ("sigma", "said"),
    [
        (None, "covariance: got None and no spread is known"),
        (-1.0, "negative variance"),
        (np.ones(2), r"got shape \(2,\), expected \(3, 3\), \(3,\) variances"),
        (np.triu(np.ones((3, 3))), "not symmetric"),
        (np.ones((3, 3)) - 2 * np.eye(3), "eigenvalue -2"),
        (float("nan"), "NaN"),
    ],
)
def test_what_is_no_covariance(sigma: object, said: str) -> None:
    with pytest.raises(jm.ArgumentError, match=said):
        jm.sensitivity(jnp.sin, jnp.ones(3)).propagate(sigma)


# -- the sanity check ----------------------------------------------------------------------------------------------


def model(weights: dict, x: jax.Array) -> jax.Array:
    return jnp.tanh(x @ weights["a"]) @ weights["b"]


def weights_of(seed: int) -> dict:
    generator = np.random.default_rng(seed)
    return {"a": jnp.asarray(generator.normal(size=(40, 16))), "b": jnp.asarray(generator.normal(size=(16, 3)))}


def test_noise_for_weights_destroys_the_map() -> None:
    weights, x = weights_of(0), jnp.asarray(np.random.default_rng(9).normal(size=40)) / 10
    found = jm.sensitivity(lambda v: model(weights, v), x)
    checked = found.check_randomised(model, weights, draws=4)
    assert checked.passed and checked.correlations.shape == (4,)
    assert abs(checked.correlation) < 0.3 and abs(checked.signed.mean()) < 0.3
    assert "another one" in str(checked)
    assert checked.to_dict()["passed"] is True


def test_a_map_that_does_not_come_from_the_weights_is_found_out() -> None:
    """The weights only scale the sum of squares: the map is the image itself."""

    def edges(weights: jax.Array, x: jax.Array) -> jax.Array:
        return (weights**2).sum() * (x**2).sum()

    weights, x = jnp.array([1.0, 2.0]), jnp.linspace(-1.0, 2.0, 30)
    checked = jm.sensitivity(lambda v: edges(weights, v), x).check_randomised(edges, weights, draws=2)
    np.testing.assert_allclose(checked.correlations, 1)
    assert not checked.passed
    assert "not what the model has learnt" in str(checked).replace("\n  ", " ")


def test_units_do_not_pass_for_a_map() -> None:
    """Inputs in units of very different size: compared by spread, the order is the weights' own."""
    units = jnp.asarray(10.0 ** np.linspace(-4, 4, 40))

    def with_units(weights: dict, x: jax.Array) -> jax.Array:
        return model(weights, x / units / 10)

    weights = weights_of(2)
    plain = jm.sensitivity(lambda v: with_units(weights, v), units)
    assert not plain.check_randomised(with_units, weights, draws=1).passed
    assert (
        jm.sensitivity(lambda v: with_units(weights, v), units, spread=units)
        .check_randomised(with_units, weights, draws=1)
        .passed
    )


def test_the_check_wants_the_same_model() -> None:
    weights, x = weights_of(0), jnp.ones(40) / 40
    found = jm.sensitivity(lambda v: model(weights, v), x)
    with pytest.raises(jm.ArgumentError, match="pass the same model"):
        found.check_randomised(model, weights_of(1))
    with pytest.raises(jm.ArgumentError, match="draws"):
        found.check_randomised(model, weights, draws=0)


# -- bad input -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"inputs": ["a", "b"]}, "inputs: got 2 names, expected 4"),
        ({"outputs": ["a", "b", "c"]}, "outputs: got 3 names, expected 2"),
        ({"spread": [1.0, 2.0]}, r"spread: got shape \(2,\), expected one number or 4 numbers"),
        ({"spread": -1.0}, "spread: got a negative"),
        ({"spread": "wide"}, "spread: got 'wide', expected real numbers"),
        ({"bounds": (0, 1)}, "bounds: .* is for data alone"),
        ({"spread": 1.0, "data": np.ones((3, 4))}, "leave one of them out"),
        ({"data": np.ones((3, 5))}, r"data: got rows of shape \(5,\), expected \(4,\)"),
    ],
)
def test_bad_arguments(options: dict, said: str) -> None:
    with pytest.raises(jm.ArgumentError, match=said):
        jm.sensitivity(gas, POINT, **options)


def test_no_study_of_traced_values() -> None:
    with pytest.raises(jm.ArgumentError, match="outside jit"):
        jax.jit(lambda x: jm.sensitivity(gas, x))(POINT)


def test_a_picture_of_an_image_and_bars_of_features(monkeypatch: pytest.MonkeyPatch) -> None:
    """Handed to jm.plot: a signed map in the image's shape; values, names and intervals of the strongest features."""
    calls = []

    class Plot:
        @staticmethod
        def sensitivity_map(values: np.ndarray, ax: object) -> object:
            calls.append(values.shape)
            return ax

        @staticmethod
        def bars(
            values: np.ndarray, names: list[str], intervals: np.ndarray | None = None, ax: object = None
        ) -> object:
            calls.append((values.shape, names[0], None if intervals is None else intervals.shape))
            return ax

    monkeypatch.setitem(vars(jm), "plot", Plot)
    image = jm.sensitivity(lambda x: (x**2).sum(), jnp.ones((4, 5)))
    features = jm.sensitivity(gas, POINT, inputs=NAMES)
    data = jm.sensitivity(gas, data=np.random.default_rng(0).normal(size=(9, 4)) + 5, inputs=NAMES)
    assert [found.plot(ax="here") for found in (image, features, data)] == ["here"] * 3
    assert calls == [(4, 5), ((4,), "volume", None), ((4,), data.ranking.names()[0], (4, 2))]


def test_bad_calls(found: jm.PointSensitivity) -> None:
    with pytest.raises(jm.ArgumentError, match="got neither"):
        jm.sensitivity(gas)  # type: ignore[call-overload]
    with pytest.raises(jm.ArgumentError, match="expected a function"):
        jm.sensitivity(3, POINT)  # type: ignore[call-overload]
    with pytest.raises(jm.ArgumentError, match="output: got 'heat', expected one of pressure, energy"):
        found.map("heat")
    with pytest.raises(jm.ArgumentError, match="output: got 2"):
        found.map(2)
    with pytest.raises(jm.ArgumentError, match="scaled: no spread"):
        jm.sensitivity(gas, POINT).scaled  # noqa: B018
    with pytest.raises(jm.ArgumentError, match="by: got 'scaled'"):
        jm.sensitivity(gas, POINT).table(by="scaled")
    with pytest.raises(jm.ArgumentError, match="J.at"):
        jm.sensitivity(jm.linearize(gas, POINT), POINT)  # type: ignore[call-overload]
