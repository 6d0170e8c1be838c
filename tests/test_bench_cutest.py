"""A few real constraint functions (CUTEst, in sif2jax) against jax.jacfwd; `make bench-engine` tries them all."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import jacmap as jm

CONSTRAINED = ["batch", "dembo7", "hs71", "hs109", "tro3x3"]
EQUATIONS = ["chandheq", "errinrosne", "heart8"]
MODULES = [f"_constrained_minimisation.{name}" for name in CONSTRAINED] + [
    f"_nonlinear_equations.{name}" for name in EQUATIONS
]


@pytest.fixture(autouse=True)
def promotion() -> Iterator[None]:
    """The problems mix dtypes, which our own tests may not."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture(scope="module")
def shelf() -> Iterator[None]:
    """sif2jax's packages without what they import: that builds 700 problems and takes two minutes."""
    before = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "sif2jax"}
    spec = importlib.util.find_spec("sif2jax")
    assert spec is not None and spec.origin is not None
    root = Path(spec.origin).parent
    for parts in ((), ("cutest",), ("cutest", "_constrained_minimisation"), ("cutest", "_nonlinear_equations")):
        package = ModuleType(".".join(("sif2jax", *parts)))
        package.__path__ = [str(root.joinpath(*parts))]
        sys.modules[package.__name__] = package
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "sif2jax"]:
        del sys.modules[name]
    sys.modules.update(before)


@pytest.mark.parametrize("module", MODULES)
def test_constraints_have_the_jacobian_of_jacfwd(module: str, shelf: None) -> None:
    f, x = constraints(module)
    near = x + 0.05 * (1 + jnp.abs(x)) * jnp.linspace(0.2, 1.0, x.size)
    true = np.asarray(jax.jit(jax.jacfwd(f))(near))
    ours = np.asarray(jm.jacobian(f, form="sparse")(near).todense())
    scale = np.abs(true).max(axis=1, keepdims=True)
    assert np.isfinite(true).all()
    assert (np.abs(ours - true) <= 1e-10 * scale).all()


def constraints(name: str) -> tuple[Any, Any]:
    """All constraints of the problem in one vector, as a function of one vector, and where it starts."""
    module = importlib.import_module(f"sif2jax.cutest.{name}")
    problem = getattr(module, name.rpartition(".")[2].upper())()
    x, unravel = ravel_pytree(problem.y0)

    def f(x: Any) -> Any:
        return jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree_util.tree_leaves(problem.constraint(unravel(x)))])

    return f, x
