"""jm.flows.fit: it learns, stops, guards against NaN, and goes on bit for bit whenever it was killed."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

import jacmap as jm
from jacmap import flows

KEY = jr.key(0)
DATA = np.random.default_rng(0).standard_normal((120, 2)) @ np.array([[1.0, 0.6], [0.0, 0.5]]) + np.array([2.0, -1.0])
SHORT = {"key": KEY, "batch_size": 20, "learning_rate": 0.02}


def flow(layers=2):
    transform = flows.Chain(flows.ActNorm(2), flows.real_nvp(2, key=KEY, layers=layers, width=6))
    return flows.Flow(transform, flows.Normal(2), direction="data_to_noise")


def leaves(tree):
    return [np.asarray(leaf) for leaf in jax.tree_util.tree_leaves(tree) if hasattr(leaf, "dtype")]


def same(one, other):
    return all((a == b).all() for a, b in zip(leaves(one), leaves(other), strict=True))


def test_it_finds_a_gaussian():
    """The expected log-density of a Gaussian model is at most minus the entropy of the truth."""
    found = flows.fit(flow(), DATA, epochs=60, patience=None, validation=0.0, **SHORT)
    cov = np.cov(DATA.T, bias=True)
    best_gaussian = 0.5 * np.log(np.linalg.det(2 * np.pi * np.e * cov))
    assert len(found.losses) == 60
    assert found.stopped == "epochs"
    assert -float(found.flow.log_prob(DATA).mean()) < best_gaussian + 0.02
    assert "60 epochs, stopped by epochs; training loss" in str(found)


def test_patience_and_the_best_epoch():
    found = flows.fit(flow(), DATA[:40], epochs=400, patience=5, validation=0.25, **{**SHORT, "learning_rate": 0.1})
    assert found.stopped == "patience"
    assert len(found.validation) == found.best_epoch + 6
    assert found.best_epoch == int(found.validation.argmin())
    held = jnp.asarray(DATA[:40])[jr.permutation(KEY, 40)][30:]  # as documented: drawn by the key
    np.testing.assert_allclose(-found.flow.log_prob(held).mean(), found.validation.min(), rtol=1e-10)


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path):
    path = tmp_path / "run.ckpt"
    whole = flows.fit(flow(), DATA, epochs=6, **SHORT)
    flows.fit(flow(), DATA, epochs=2, checkpoint=path, **SHORT)
    (tmp_path / ".run.ckpt.abc.partial").write_bytes(b"left by a killed process")
    resumed = flows.fit(flow(), DATA, epochs=6, checkpoint=path, **SHORT)
    assert same(whole.flow, resumed.flow)
    np.testing.assert_array_equal(whole.losses, resumed.losses)
    np.testing.assert_array_equal(whole.validation, resumed.validation)
    assert [file.name for file in tmp_path.iterdir()] == ["run.ckpt"]
    again = flows.fit(flow(), DATA, epochs=6, checkpoint=path, **SHORT)
    assert same(again.flow, whole.flow)


def test_checkpoints_that_do_not_fit_are_refused(tmp_path):
    path = tmp_path / "run.ckpt"
    flows.fit(flow(), DATA, epochs=1, checkpoint=path, **SHORT)
    for change, said in [
        ({"key": jr.key(1)}, "another key"),
        ({"batch_size": 10}, "another batch_size"),
        ({"optimiser": optax.sgd(0.1)}, "another optimiser"),
    ]:
        with pytest.raises(jm.ArgumentError, match=said):
            flows.fit(flow(), DATA, epochs=2, checkpoint=path, **{**SHORT, **change})
    with pytest.raises(jm.ArgumentError, match="another data"):
        flows.fit(flow(), DATA + 1, epochs=2, checkpoint=path, **SHORT)
    body = path.read_bytes()
    for damaged in (body[:-5], b"", b"{}\n", body[:-1] + bytes([body[-1] ^ 1])):
        path.write_bytes(damaged)
        with pytest.raises(jm.ArgumentError, match="is damaged"):
            flows.fit(flow(), DATA, epochs=2, checkpoint=path, **SHORT)


def test_a_step_that_is_not_finite_is_not_taken(tmp_path):
    """The loss becomes NaN when a parameter has moved far enough: the last good state comes back."""

    class Cliff(flows.Affine):
        def __call__(self, x, raw):
            z = super().__call__(x, raw)
            return jnp.where(jnp.abs(raw).max() > 3.0, jnp.nan, z)

    transform = flows.Coupling(2, key=KEY, width=4, elementwise=Cliff())
    model = flows.Flow(transform, flows.Normal(2), direction="data_to_noise")
    options = {**SHORT, "learning_rate": 0.2, "validation": 0.0}
    with pytest.warns(jm.NotFiniteWarning, match="last good parameters"):
        found = flows.fit(model, 3 * DATA, epochs=200, checkpoint=tmp_path / "run", **options)
    assert found.stopped == "not finite"
    assert np.isfinite(found.flow.log_prob(3 * DATA[:1])).all() or len(found.losses)
    assert all(np.isfinite(leaf).all() for leaf in leaves(found.flow))
    with pytest.warns(jm.NotFiniteWarning):
        again = flows.fit(model, 3 * DATA, epochs=200, checkpoint=tmp_path / "run", **options)
    assert same(found.flow, again.flow)


TRAINING = """
import sys
sys.path.insert(0, {tests!r})
import conftest
from test_flows_fit import DATA, SHORT, flow
from jacmap import flows
flows.fit(flow(1), DATA, epochs=300, patience=None, checkpoint={path!r}, **SHORT)
"""


def start(path):
    code = TRAINING.format(tests=str(Path(__file__).parent), path=str(path))
    return subprocess.Popen([sys.executable, "-c", code], env=dict(os.environ))


def test_killed_while_training(tmp_path):
    """SIGKILL at a random moment after the first checkpoint: what follows ends bit for bit like a run never stopped."""
    path = tmp_path / "run.ckpt"
    killed = start(path)
    while not path.exists() and killed.poll() is None:
        time.sleep(0.01)
    time.sleep(random.Random(0).uniform(0.0, 0.3))
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    resumed = flows.fit(flow(1), DATA, epochs=300, patience=None, checkpoint=path, **SHORT)
    whole = flows.fit(flow(1), DATA, epochs=300, patience=None, **SHORT)
    assert len(whole.losses) == 300 and (resumed.losses == whole.losses).all()
    assert same(resumed.flow, whole.flow)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs: got 0"),
        ({"validation": 1.0}, "validation: got 1.0"),
        ({"batch_size": 0}, "batch_size: got 0"),
    ],
)
def test_errors_say_what_to_do(change, message):
    with pytest.raises(jm.ArgumentError, match=message):
        flows.fit(flow(), DATA, **{**SHORT, **change})


def test_data_that_cannot_be_trained_on():
    with pytest.raises(jm.ArgumentError, match="1 points are not finite, the first is number 3"):
        flows.fit(flow(), np.where(np.arange(120)[:, None] == 3, np.nan, DATA), **SHORT)
    with pytest.raises(jm.ArgumentError, match="expected at least two points"):
        flows.fit(flow(), DATA[0], **SHORT)
