"""The image of a small sphere against closed forms, NumPy and SciPy."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from geometry_maps import MAPS, A, B, C, D, geometry_of
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import jacmap as jm
from jacmap import ArgumentError
from jacmap.study.geometry.sphere import sphere

CLOSE = {"rtol": 1e-10, "atol": 1e-10}
EPS = float(np.finfo(float).eps)


def turn(angle: float) -> np.ndarray:
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


def slope_of_moebius() -> complex:
    x, y = MAPS["moebius"][1]
    return (A * D - B * C) / (C * (x + 1j * y) + D) ** 2


CLOSED_FORMS = [
    # name, singular values, det or None, volume, orientation
    ("complex square", [10**0.5] * 2, 10, 10, 1),
    ("polar", [2, 1], 2, 2, 1),
    ("spherical", [2, 1, 2 * math.sin(0.5)], 4 * math.sin(0.5), 4 * math.sin(0.5), 1),
    ("moebius", [abs(slope_of_moebius())] * 2, abs(slope_of_moebius()) ** 2, abs(slope_of_moebius()) ** 2, 1),
    ("fold", [1, 0], 0, 0, 0),
    ("flip", [3, 1], -3, 3, -1),
    ("sphere surface", [1, math.sin(0.6)], None, math.sin(0.6), None),
    ("torus surface", [3 + math.cos(0.8), 1], None, 3 + math.cos(0.8), None),
    ("radius and height", [2, 1], None, 2, None),
]


@pytest.mark.parametrize(("name", "values", "det", "volume", "orientation"), CLOSED_FORMS, ids=lambda v: str(v)[:16])
def test_closed_forms(name: str, values: list[float], det: float | None, volume: float, orientation: int) -> None:
    found = geometry_of(name)
    np.testing.assert_allclose(found.singular_values, sorted(values, reverse=True), **CLOSE)
    np.testing.assert_allclose(found.volume, volume, **CLOSE)
    assert found.orientation == orientation
    assert found.det is None if det is None else abs(found.det - det) < 1e-10
    assert found.rank == sum(value > 0 for value in values)
    np.testing.assert_allclose(found.matrix, jax.jacfwd(found.J.f)(*found.J.args), rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize(
    ("name", "rotation", "stretch"),
    [
        ("complex square", turn(math.atan2(0.5, 1.5)), 10**0.5 * np.eye(2)),
        ("polar", turn(0.7), np.diag([1.0, 2.0])),
        ("moebius", turn(float(np.angle(slope_of_moebius()))), abs(slope_of_moebius()) * np.eye(2)),
        ("flip", np.array([[0.0, 1.0], [1.0, 0.0]]), np.diag([3.0, 1.0])),
    ],
)
def test_polar_factors(name: str, rotation: np.ndarray, stretch: np.ndarray) -> None:
    np.testing.assert_allclose(geometry_of(name).rotation, rotation, **CLOSE)
    np.testing.assert_allclose(geometry_of(name).stretch, stretch, **CLOSE)


def test_shear_and_null_space() -> None:
    np.testing.assert_allclose(geometry_of("shear flow").shear, [[1, 2], [0, 1]], **CLOSE)
    np.testing.assert_allclose(geometry_of("polar").shear, np.eye(2), **CLOSE)
    assert geometry_of("fold").shear is None
    np.testing.assert_allclose(geometry_of("fold").null_space, [[1], [0]], **CLOSE)
    along = geometry_of("radius and height").null_space
    np.testing.assert_allclose(np.abs(along.ravel()), [0.8, 0.6, 0], **CLOSE)
    assert geometry_of("polar").null_space.shape == (2, 0)


matrices = st.tuples(st.integers(1, 5), st.integers(1, 5)).flatmap(
    lambda shape: arrays(float, shape, elements=st.floats(-4, 4, width=16))
)


@settings(max_examples=150)
@given(matrices)
def test_any_matrix(matrix: np.ndarray) -> None:
    m, n = matrix.shape
    found = sphere(matrix, EPS)
    size = max(1.0, np.abs(matrix).max())
    close = {"rtol": 1e-10, "atol": 1e-12 * size ** min(m, n)}
    np.testing.assert_allclose(found.axes @ found.right.T, matrix, **close)
    np.testing.assert_allclose(found.singular_values, np.linalg.svd(matrix, compute_uv=False), **close)
    assert found.rank == np.linalg.matrix_rank(matrix)
    gram = matrix.T @ matrix if m >= n else matrix @ matrix.T
    np.testing.assert_allclose(found.volume**2, np.linalg.det(gram), rtol=1e-9, atol=1e-9 * size ** (2 * min(m, n)))
    null = found.null_space
    assert null.shape == (n, n - found.rank)
    np.testing.assert_allclose(null.T @ null, np.eye(n - found.rank), atol=1e-12)
    np.testing.assert_allclose(matrix @ null, 0, atol=1e-12 * size)
    if m == n:
        rotation, stretch = scipy.linalg.polar(matrix)
        np.testing.assert_allclose(found.stretch, stretch, **close)
        np.testing.assert_allclose(found.rotation @ found.stretch, matrix, **close)
        np.testing.assert_allclose(found.det, np.linalg.det(matrix), **close)
        if found.rank == n:
            assert found.orientation == np.sign(np.linalg.det(matrix))
            if found.condition < 1e6:
                np.testing.assert_allclose(found.rotation, rotation, atol=1e-8)
        else:
            assert found.orientation == 0
    if found.rank == n and found.condition < 1e6:
        columns = matrix @ scipy.linalg.solve_triangular(found.shear, np.eye(n), unit_diagonal=True)
        across = columns.T @ columns  # A U⁻¹ = Q D: perpendicular columns
        np.testing.assert_allclose(across - np.diag(np.diag(across)), 0, atol=1e-8 * size**2)
        np.testing.assert_array_equal(np.diag(found.shear), 1)
        np.testing.assert_array_equal(np.tril(found.shear, -1), 0)


def test_volumes_beyond_the_range_of_doubles_keep_their_logarithm() -> None:
    found = sphere(1e5 * np.eye(100), EPS)
    assert found.volume == math.inf
    assert found.log_volume == pytest.approx(500 * math.log(10))


def test_local_invertibility_comes_with_its_evidence() -> None:
    assert geometry_of("polar").invertibility
    assert not geometry_of("fold").invertibility
    assert geometry_of("affine").invertibility is None
    assert "f can be undone near this point" in str(geometry_of("polar"))
    assert "f has no smooth inverse" in str(geometry_of("fold"))
    assert "whether f can be undone is not known" in str(geometry_of("relu, many"))


def test_arguments_in_any_layout() -> None:
    def f(tree: dict[str, jax.Array], scale: jax.Array) -> dict[str, jax.Array]:
        return {"one": tree["a"] * scale, "two": tree["b"].sum() ** 2}

    tree = {"a": jnp.ones((2, 1)), "b": jnp.arange(3.0)}
    J = jm.linearize(f, tree, jnp.array(2.0), argnums=(1, 0))
    found = jm.geometry(J)
    np.testing.assert_array_equal(found.point, [2, 1, 1, 0, 1, 2])
    np.testing.assert_array_equal(found.value, [2, 2, 9])
    np.testing.assert_allclose(found.matrix, [[1, 2, 0, 0, 0, 0], [1, 0, 2, 0, 0, 0], [0, 0, 0, 6, 6, 6]], **CLOSE)
    assert found.trust.order == pytest.approx(2, abs=0.01)


def test_no_large_matrix_is_formed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(jm.Jacobian, "dense")
    weights = jnp.linspace(1.0, 2.0, 2500)
    J = jm.linearize(lambda x: weights * x**2, jnp.ones(2500))
    found = jm.geometry(J)
    assert found.matrix is None and found.rank is None and found.det is None
    np.testing.assert_allclose(found.singular_values, np.sort(2 * np.asarray(weights))[::-1][:6], rtol=1e-8)
    assert found.frobenius == pytest.approx(2 * float(jnp.linalg.norm(weights)))
    assert found.trust.order == pytest.approx(2, abs=0.01)
    assert [kind.name for kind in found.kinds] == ["diagonal"]
    assert "no matrix was formed" in str(found)


@pytest.mark.parametrize("name", MAPS)
def test_every_map_is_told_within_the_width_and_listed(name: str) -> None:
    found = geometry_of(name)
    assert max(map(len, str(found).splitlines())) <= 100
    assert "How far f(x) + J h can be trusted" in str(found)
    listed = json.loads(json.dumps(found.to_dict()))
    assert listed["singular_values"] == found.singular_values.tolist()
    assert [kind["name"] for kind in listed["kinds"]] == [kind.name for kind in found.kinds]
    assert listed["trust"]["words"] == str(found.trust)
    assert all(isinstance(said, str) for sentences in listed["words"].values() for said in sentences)


def test_what_a_reader_is_told_of_the_complex_square() -> None:
    said = str(geometry_of("complex square"))
    for words in (
        "Areas grow to 10× (det J = 10); orientation is kept",
        "turned by 18.43°",
        "conformal: angles are kept",
        "Every direction is stretched alike",
        "from distance 0.03162 on",
    ):
        assert words in said.replace("\n    ", " ")
    assert "orientation is flipped" in str(geometry_of("flip"))
    assert "Areas collapse: det J is 0" in str(geometry_of("fold"))


def test_pictures_are_those_of_the_plot_package(monkeypatch: pytest.MonkeyPatch) -> None:
    class Plot:
        @staticmethod
        def circle_to_ellipse(f: object, x: object, ax: object) -> object:
            return "circle", np.asarray(f(x)), ax

        @staticmethod
        def singular_values(shown: object, ax: object) -> object:
            return "values", shown, ax

        @staticmethod
        def trust(shown: object, ax: object) -> object:
            return "trust", shown, ax

    monkeypatch.setitem(vars(jm), "plot", Plot)
    square, affine = geometry_of("complex square"), geometry_of("affine")
    kind, value, ax = square.plot(ax=3)
    assert (kind, ax) == ("circle", 3)
    np.testing.assert_array_equal(value, square.value)
    assert affine.plot() == ("values", affine, None)
    assert square.trust.plot() == ("trust", square.trust, None)


def test_no_figures_where_f_or_its_derivative_is_not_finite() -> None:
    with pytest.warns(jm.NotFiniteWarning):
        found = jm.geometry(jm.linearize(lambda x: jnp.sqrt(x) * jnp.ones(2), jnp.zeros(1)))
    assert found.trust is None and found.kinds == ()
    assert "2 of 2 entries of J are NaN or infinite" in str(found)
    json.dumps(found.to_dict())
    with pytest.warns(jm.NotFiniteWarning):
        said = str(jm.geometry(jm.linearize(lambda x: jnp.stack([x[0], jnp.log(x[1])]), jnp.array([1.0, 0.0]))))
    assert "1 of 2 outputs are NaN or infinite at this point, the first is 1" in said


SQUARE = jm.linearize(lambda x: x**2, jnp.ones(2))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: jm.geometry(lambda x: x), r"J: got function, expected a jacmap.Jacobian: jm.geometry\(jm.linearize"),
        (lambda: jm.geometry(np.eye(2)), "J: got ndarray, expected a jacmap.Jacobian"),
        (lambda: jm.geometry(SQUARE, tolerance=0), "tolerance: got 0, expected a number above 0"),
        (lambda: jm.geometry(SQUARE, tolerance=1.5), "tolerance: got 1.5"),
        (lambda: jm.geometry(SQUARE, radius=-1.0), "radius: got -1.0, expected a positive number"),
        (lambda: jm.geometry(SQUARE, radius=np.inf), "radius: got inf"),
        (lambda: jm.geometry(SQUARE, directions=[1.0, 2.0, 3.0]), r"directions: got shape \(3,\), expected \(2,\)"),
        (lambda: jm.geometry(SQUARE, directions=[[0.0], [0.0]]), "directions: column 0 has length 0"),
        (lambda: jm.geometry(SQUARE, directions="up"), "directions: got str"),
        (lambda: jm.geometry(jm.linearize(lambda x: jax.lax.complex(x, x), jnp.ones(2))), "complex numbers, expected"),
        (lambda: jax.jit(lambda x: jm.geometry(jm.linearize(jnp.sin, x)).volume)(jnp.ones(2)), "traced"),
    ],
)  # fmt: skip
def test_bad_input(call: object, said: str) -> None:
    with pytest.raises(ArgumentError, match=said):
        call()  # type: ignore[operator]
