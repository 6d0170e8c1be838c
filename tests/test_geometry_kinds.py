"""Special cases: each rule holds on its own example, is lost under a small change, and says how far it is known."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from geometry_maps import geometry_of

import jacmap as jm
from jacmap.study.geometry import kinds
from jacmap.study.geometry.kinds import EVERYWHERE, HERE, NEARBY, RULES

EPS = float(np.finfo(float).eps)
COS, SIN = np.cos(0.3), np.sin(0.3)

EXAMPLES: dict[str, Any] = {
    "identity": np.eye(3),
    "permutation": np.eye(4)[[2, 0, 3, 1]],
    "diagonal": np.diag([2.0, 3.0, -1.0]),
    "lower triangular": np.tril(np.arange(1.0, 10).reshape(3, 3)),
    "upper triangular": np.triu(np.arange(1.0, 10).reshape(3, 3)),
    "rotation": np.array([[COS, -SIN], [SIN, COS]]),
    "reflection": np.array([[COS, SIN], [SIN, -COS]]),
    "orthogonal": np.linalg.qr(np.random.default_rng(0).standard_normal((5, 5)))[0],
    "conformal": 3 * np.array([[COS, -SIN], [SIN, COS]]),
    "volume-preserving": np.array([[2.0, 1.0], [3.0, 2.0]]),
    "projection": np.array([[1.0, 2.0], [0.0, 0.0]]),
    "symmetric": np.array([[1.0, 2.0], [2.0, -5.0]]),
    "antisymmetric": np.array([[0.0, 2.0, 1.0], [-2.0, 0.0, 4.0], [-1.0, -4.0, 0.0]]),
    "divergence-free": np.array([[2.0, 1.0], [5.0, -2.0]]),
    "stochastic rows": np.array([[0.2, 0.8, 0.0], [0.5, 0.25, 0.25]]),
    "rows that sum to zero": np.array([[1.0, -3.0, 2.0], [0.5, 0.0, -0.5]]),
    "columns that sum to zero": np.array([[1.0, -3.0], [0.5, 1.0], [-1.5, 2.0]]),
}


def names(matrix: np.ndarray, eps: float = EPS) -> set[str]:
    return {kind.name for kind in kinds.measured(matrix, eps, False, list)}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_each_rule_sees_its_example_and_no_small_departure_from_it(rule: kinds.Rule) -> None:
    example = EXAMPLES[rule.name]
    assert rule.name in names(example)
    assert rule.name in names(example.astype(np.float32).astype(float), float(np.finfo(np.float32).eps))
    rough = example + 1e-6 * np.random.default_rng(1).standard_normal(example.shape)
    assert rule.name not in names(rough)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_what_a_rule_is_said_to_follow_from_does_imply_it(rule: kinds.Rule) -> None:
    for other in rule.follows_from:
        found = names(EXAMPLES[other])
        assert {other, rule.name} <= found


def test_half_precision_does_not_make_everything_an_identity() -> None:
    eps = 2.0**-7  # bfloat16
    assert "identity" not in names(0.54 * np.eye(3), eps)
    assert "identity" in names(np.eye(3) + eps, eps)


def test_a_plain_matrix_is_nothing_special() -> None:
    assert names(np.array([[1.0, 2.0, 0.5], [0.3, -1.0, 4.0], [2.0, 0.1, 1.5]])) == set()
    assert names(np.array([[3.0]])) == set()


FOUND = {
    "complex square": {"conformal": NEARBY},
    "moebius": {"conformal": NEARBY},
    "affine": {"affine": EVERYWHERE},
    "fold": {"singular": HERE, "diagonal": EVERYWHERE, "projection": HERE},
    "cubic": {"diagonal": EVERYWHERE, "identity": HERE, "rotation": HERE, "symmetric": NEARBY},
    "softmax": {"singular": NEARBY, "symmetric": NEARBY, "rows that sum to zero": NEARBY,
                "columns that sum to zero": NEARBY},
    "relu": {"zero": HERE},
    "constant": {"zero": EVERYWHERE, "affine": EVERYWHERE},
    "tie": {"gradient": EVERYWHERE, "stochastic rows": NEARBY},
    "mirror": {"affine": EVERYWHERE, "permutation": EVERYWHERE, "reflection": EVERYWHERE},
    "quarter turn": {"affine": EVERYWHERE, "rotation": EVERYWHERE, "antisymmetric": EVERYWHERE},
    "shear flow": {"upper triangular": EVERYWHERE, "volume-preserving": NEARBY},
}  # fmt: skip


@pytest.mark.parametrize(("name", "expected"), FOUND.items())
def test_kinds_of_functions_and_how_far_they_are_known(name: str, expected: dict[str, str]) -> None:
    found = {kind.name: kind.scope for kind in geometry_of(name).kinds}
    assert expected.items() <= found.items()


@pytest.mark.parametrize("name", ["polar", "spherical", "torus surface", "step", "jump ahead"])
def test_what_is_not_special_is_not_said_to_be(name: str) -> None:
    assert geometry_of(name).kinds == ()


def test_a_function_with_steps_far_away_is_affine_only_as_far_as_was_looked() -> None:
    found = jm.geometry(jm.linearize(lambda x: 2 * x + jnp.floor(x), jnp.array([0.5])), radius=0.4)
    (affine,) = found.kinds
    assert (affine.name, affine.scope) == ("affine", NEARBY)
    assert "up to distance 0.4" in affine.meaning


FIELDS: list[tuple[Callable[[Any], Any], set[str], set[str]]] = [
    # a field, what it has around the point, what it has not
    (jax.grad(lambda x: jnp.sin(x[0]) * x[1] ** 2 + x[2] ** 3), {"symmetric"}, {"divergence-free"}),
    (lambda x: jnp.stack([x[1] * x[2], x[0] * x[2] ** 2, x[0] * x[1]]), {"divergence-free"}, {"symmetric"}),
    (lambda x: jnp.stack([x[1], -jnp.sin(x[0]), x[0]]), {"divergence-free"}, {"antisymmetric"}),
]


@pytest.mark.parametrize(("field", "has", "has_not"), FIELDS)
def test_fields(field: Callable[[Any], Any], has: set[str], has_not: set[str]) -> None:
    found = {k.name: k.scope for k in jm.geometry(jm.linearize(field, jnp.array([0.4, 0.7, 0.2]))).kinds}
    assert all(found[name] == NEARBY for name in has)
    assert not has_not & set(found)


def test_what_the_graph_shows_to_be_singular_is_known_everywhere() -> None:
    found = jm.geometry(jm.linearize(lambda x: jnp.stack([x.sum() ** 2, jnp.sin(x.sum())]), jnp.array([0.2, 0.5])))
    assert {kind.name: kind.scope for kind in found.kinds}["singular"] == EVERYWHERE


def test_evidence_is_a_number_and_says_where() -> None:
    (conformal,) = geometry_of("complex square").kinds
    assert conformal.evidence == "‖JᵀJ/c − I‖ below 3e-14"
    assert 0 <= conformal.value < 3e-14
    assert "here and at random points nearby" in str(conformal)
    assert conformal.to_dict()["name"] == "conformal"


def test_what_follows_is_told_in_one_line() -> None:
    said = str(geometry_of("cubic")).replace("\n    ", " ")
    assert "identity: every small change passes unchanged" in said
    assert "and so also diagonal, permutation" in said
