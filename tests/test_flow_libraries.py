"""Log-determinants of other libraries' bijections, from their plain transforms, against the ones written by hand."""

import importlib
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flow_scenarios import QUICK
from jax.flatten_util import ravel_pytree

import jacmap as jm

LIBRARIES = ("flowjax", "distrax", "numpyro")


@pytest.fixture(autouse=True)
def promotion():
    """The libraries mix dtypes, which our own tests may not."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def parameters():
    """Every other bijection of each library (`make bench-linalg` compares them all); of a library that cannot be
    imported one test that is skipped with the reason."""
    for library in LIBRARIES:
        try:
            names = list(cases(library))[::2]
        except ImportError as error:
            yield pytest.param(library, "", marks=pytest.mark.skip(reason=f"{library} cannot be imported: {error}"))
            continue
        yield from (pytest.param(library, name, id=f"{library}: {name}") for name in names)


def cases(library):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what a newer JAX says of them is theirs to mend
        return importlib.import_module(f"bijections_{library}").CASES


@pytest.mark.parametrize(("library", "name"), [*parameters()])
def test_equal_to_the_one_written_by_hand(library, name):
    bijection = cases(library)[name]()
    assert bijection.inverse is not None or bijection.no_inverse, "say why"

    def both(x):
        """Ours and theirs, forward and inverse, compiled at once."""
        found = [(jm.slogdet(bijection.forward)(x), jnp.sum(bijection.log_det(x)))]
        if bijection.inverse is not None:
            y = bijection.forward(x)
            found.append((jm.slogdet(bijection.inverse)(y), jnp.sum(bijection.inverse_log_det(y))))
        return found

    for direction, ((sign, log), theirs) in enumerate(jax.jit(both, compiler_options=QUICK)(bijection.x)):
        if bijection.wrong or not np.allclose(log, theirs, rtol=1e-8, atol=1e-8):
            true = dense(bijection, direction)
            assert bijection.wrong, f"{direction=}: ours {log}, theirs {theirs}, dense NumPy {true}"
            np.testing.assert_allclose(log, true, rtol=1e-8, atol=1e-8)
            assert abs(true - theirs) > 1e-3, "no longer wrong"
        assert abs(float(sign)) == 1.0


def dense(bijection, direction):
    """log|det J| by NumPy: who of the two is right?"""
    x = bijection.forward(bijection.x) if direction else bijection.x
    flat, back = ravel_pytree(x)
    transform = bijection.inverse if direction else bijection.forward
    return np.linalg.slogdet(jax.jacfwd(lambda flat: ravel_pytree(transform(back(flat)))[0])(flat))[1]
