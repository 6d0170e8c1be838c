"""Functions of every structure for the linear algebra; the oracle is NumPy on the dense matrix of `jax.jacfwd`."""

import contextlib
import dataclasses
import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from scenarios import draw, heat

import jacmap as jm

sys.path.append(str(Path(__file__).parents[1] / "examples"))

import brusselator  # noqa: E402


@dataclass(frozen=True, eq=False)
class Case:
    """`solve`: the way that the plan must choose for J x = b, None where J is not square or singular."""

    name: str
    function: Callable
    x: jax.Array
    kind: str
    solve: str | None = None

    def __str__(self):
        return self.name

    @functools.cached_property
    def J(self):
        return jm.linearize(self.function, self.x)

    @functools.cached_property
    def dense(self):
        return np.asarray(jax.jacfwd(self.function)(self.x))

    @functools.cached_property
    def singular_values(self):
        return np.linalg.svd(self.dense, compute_uv=False)


RNG = np.random.default_rng(7)
MIXED = RNG.permutation(9)
OTHER = RNG.permutation(9)
LOWER = np.tril(RNG.uniform(0.5, 1.5, (9, 9)))[MIXED][:, OTHER]
SQUARE, WIDE, TALL = RNG.normal(size=(6, 6)), RNG.normal(size=(4, 9)), RNG.normal(size=(9, 4))
FLAT = RNG.normal(size=(7, 2)) @ RNG.normal(size=(2, 7))
NARROW, BACK = RNG.normal(size=(2, 6)), RNG.normal(size=(6, 2))
BLOCK = RNG.normal(size=(3, 3))
STENCIL = np.eye(30, 40) + 0.5 * np.eye(30, 40, 3) + 0.2 * np.eye(30, 40, 9)


def blocks(x):
    return jax.vmap(lambda row: jnp.tanh(BLOCK @ row) + 2 * row)(x.reshape(4, 3)).ravel()


def unequal_blocks(x):
    first = jnp.stack([x[0] * x[1], x[0] - 2 * x[1]])
    rest = x[2:5] ** 3 + x[2:5].sum() + 3 * x[2:5]
    return jnp.concatenate([first, rest, jnp.sin(x[5:])])


def oblong_blocks(x):
    rows = x.reshape(3, 2)
    return jnp.concatenate([rows**2, rows[:, :1] * rows[:, 1:], jnp.zeros((3, 1))], axis=1).ravel()


def arrow(x):
    return (3 + x[0]) * x + jnp.zeros(x.size).at[0].set(jnp.sum(x**2))


CASES = [
    Case("diagonal", lambda x: x**3 + x, draw(1, 6), "diagonal", "division by the diagonal"),
    Case(
        "permuted diagonal",
        lambda x: jnp.sinh(x[MIXED]) + x[MIXED],
        draw(2, 9),
        "diagonal",
        "division by the diagonal",
    ),
    Case("triangular", lambda x: jnp.cumsum(x**2 + 3 * x), draw(3, 30), "lower-triangular", "triangular substitution"),
    Case(
        "permuted triangular",
        lambda x: LOWER @ (x + x**3),
        draw(4, 9),
        "lower-triangular",
        "triangular substitution",
    ),
    Case("tridiagonal", heat, draw(5, 40), "banded", "banded LU"),
    Case("permuted tridiagonal", lambda x: heat(x[MIXED])[OTHER], draw(6, 9), "banded", "banded LU"),
    Case("blocks", blocks, draw(7, 12), "block-diagonal", "LU of the blocks"),
    Case("unequal blocks", unequal_blocks, draw(8, 9), "block-diagonal", "LU of the blocks"),
    Case("arrow", arrow, draw(9, 20), "arrow", "dense LU"),
    Case("dense", lambda x: jnp.tanh(SQUARE @ x) + x, draw(10, 6), "dense", "dense LU"),
    Case("scalar", jnp.sin, draw(11, 1), "scalar", "dense LU"),
    Case("brusselator", brusselator.make(20), brusselator.start(20), "sparse", "sparse LU"),
    Case("wide", lambda x: jnp.tanh(WIDE @ x), draw(12, 9), "dense"),
    Case("tall", lambda x: jnp.sin(TALL @ x), draw(13, 4), "dense"),
    Case("wide and sparse", lambda x: STENCIL @ (x + x**3), draw(14, 40), "diagonals"),
    Case("tall and sparse", lambda x: jnp.sinh(STENCIL.T @ x), draw(15, 30), "diagonals"),
    Case("oblong blocks and empty rows", oblong_blocks, draw(16, 6), "block-diagonal"),
    Case("gradient", lambda x: jnp.sum(x**3)[None], draw(17, 5), "gradient"),
    Case("low rank by its numbers", lambda x: FLAT @ x, draw(18, 7), "dense"),
    Case("low rank by a narrow cut", lambda x: BACK @ jnp.tanh(NARROW @ x), draw(19, 6), "low-rank"),
    Case("band with empty columns", lambda x: x[:5] ** 2 * x[1:6] + 0 * x[0], draw(20, 7), "banded"),
    Case("zero", lambda x: jnp.zeros(4) * x.sum(), draw(21, 3), "empty"),
]
REGULAR = [case for case in CASES if case.solve]


def by_every_way(case, question, without=(), **options):
    """(way, J) for every possible way of answering a question, with J bound to that way."""
    plan = case.J.explain(question, **options)
    for way in plan.names:
        if way not in without:
            with forced(case.J, question, way, **options) as J:
                yield way, J


@contextlib.contextmanager
def forced(J, question, way, **options):
    """J anew, while one of the possible ways is put first."""
    J = J.at(*J.args)
    plan = J.explain(question, **options)
    (key,) = (key for key, kept in J._form.plans.items() if kept is plan)
    first = next(candidate for candidate in plan.candidates if candidate.name == way)
    rest = tuple(candidate for candidate in plan.candidates if candidate is not first)
    J._form.plans[key] = dataclasses.replace(plan, candidates=(first, *rest))
    try:
        assert J.explain(question, **options).chosen == way
        yield J
    finally:
        J._form.plans[key] = plan


def named(name):
    return next(case for case in CASES if case.name == name)
