"""Plans on disk: what is saved comes back, and a file that does not fit is refused with the reason."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jacmap as jm
from jacmap.engine.plan import store

X = jnp.linspace(0.5, 1.5, 400)


def f(x):
    return jnp.sin(x) * jnp.roll(x, 1)


@pytest.fixture
def saved(tmp_path):
    return jm.plan(f, X, question="sparse").save(tmp_path / "plan.npz")


def test_a_saved_plan_answers_as_the_function_does(saved):
    plan = jm.load_plan(saved, f, X)
    np.testing.assert_allclose(plan(X).todense(), jax.jacfwd(f)(X), rtol=1e-12)
    assert plan.passes == 2
    assert plan.probed is not None


@pytest.mark.parametrize(
    ("other", "point", "question", "reason"),
    [
        (lambda x: jnp.sin(x) * jnp.roll(x, 2), X, "sparse", "another function"),
        (f, X[:30], "sparse", "400×400"),
        (f, X, "dense", "question"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(saved, other, point, question, reason):
    with pytest.raises(jm.PlanFileError, match=reason):
        jm.load_plan(saved, other, point, question=question)


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "plan.npz"
    path.write_bytes(b"not an archive")
    with pytest.raises(jm.PlanFileError, match="not a plan file"):
        jm.load_plan(path, f, X)


def test_an_interrupted_write_leaves_the_old_file(saved, monkeypatch):
    before = saved.read_bytes()

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(store.np, "savez_compressed", interrupted)
    with pytest.raises(KeyboardInterrupt):
        jm.plan(f, X, question="sparse").save(saved)
    assert saved.read_bytes() == before
    assert [p.name for p in saved.parent.iterdir()] == ["plan.npz"]
