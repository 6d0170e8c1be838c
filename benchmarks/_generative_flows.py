"""Flows: digits against flowjax's own training, densities against closed forms, Hutchinson's bar, kills, check_flow."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import paramax
from _generative_check import planted, right
from _table import Row, Tick
from _timing import medians
from flowjax import flows as theirs
from flowjax.distributions import StandardNormal
from flowjax.train import fit_to_data
from flowjax.train.losses import MaximumLikelihoodLoss
from flowjax.train.train_utils import step as their_step
from scipy import stats
from skimage.data import lfw_subset
from sklearn.datasets import load_digits

import jacmap as jm
from jacmap import flows
from jacmap.flows._fit import prepared

N, HELD_OUT, BATCH, RATE = 64, 300, 100, 5e-4
SIDE, POINTS = 12, 1600  # of the square over which a density is summed
KINDS = {
    "coupling": (theirs.coupling_flow, flows.real_nvp),
    "MAF": (theirs.masked_autoregressive_flow, flows.maf),
}


def rows(quick: bool, tick: Tick) -> Iterator[Row]:
    yield from digits(quick, tick)
    yield from densities(tick)
    with jax.enable_x64(True):
        yield from faces(quick, tick)
    yield from hutchinson(quick, tick)
    yield from checks(tick)
    yield from kills(quick, tick)


# -- digits --------------------------------------------------------------------------------------------------------
def digit_data() -> tuple[jax.Array, jax.Array]:
    """(train, held out): dequantised, through a logit, standardised; the same for both libraries."""
    random = np.random.default_rng(0)
    pixels = load_digits().data
    share = 0.05 + 0.9 * (pixels + random.uniform(size=pixels.shape)) / 17
    logits = (np.log(share) - np.log1p(-share))[random.permutation(len(share))].astype(np.float32)
    train, held = logits[:-HELD_OUT], logits[-HELD_OUT:]
    mean, spread = train.mean(0), train.std(0)
    return jnp.asarray((train - mean) / spread), jnp.asarray((held - mean) / spread)


def digits(quick: bool, tick: Tick) -> Iterator[Row]:
    """Same architecture (8 layers of 50 units), budget (epochs, patience), batches, optimiser and seeds."""
    train, held = digit_data()
    epochs, seeds = (3, 1) if quick else (100, 3)
    for name, (make_theirs, make_ours) in KINDS.items():
        apart = []
        for seed in range(seeds):
            tick(f"digits, {name}, seed {seed}")
            key, for_training = jr.split(jr.key(seed))
            other = make_theirs(key, base_dist=StandardNormal((N,)))
            other, _ = fit_to_data(for_training, other, train, learning_rate=RATE, max_epochs=epochs, max_patience=10,
                                   batch_size=BATCH, show_progress=False)  # fmt: skip
            flow = flows.Flow(make_ours(N, key=key), flows.Normal(N), direction="data_to_noise")
            found = flows.fit(flow, train, key=for_training, learning_rate=RATE, epochs=epochs, patience=10,
                              batch_size=BATCH)  # fmt: skip
            apart.append(np.asarray(found.flow.log_prob(held) - other.log_prob(held)))
        # Noise: the standard error over the held-out points, each averaged over the seeds, and over the seeds.
        each = np.stack(apart)
        error = np.hypot(each.mean(0).std() / HELD_OUT**0.5, each.mean(1).std() / seeds**0.5)
        case = f"digits, {name}, {seeds} seed{'s' * (seeds > 1)}: test log-likelihood over flowjax's"
        yield Row(case, float(each.mean()), "nats per image", None if quick else -2 * float(error))
        yield from step_time(name, train[:BATCH], make_theirs, make_ours, quick)


def step_time(name: str, batch: Any, make_theirs: Any, make_ours: Any, quick: bool) -> Iterator[Row]:
    """One training step, each as its library's training takes it."""
    optimiser, key = optax.adam(RATE), jr.key(0)
    other = make_theirs(key, base_dist=StandardNormal((N,)))
    params, static = eqx.partition(
        other, eqx.is_inexact_array, is_leaf=lambda leaf: isinstance(leaf, paramax.NonTrainable)
    )
    state, loss = optimiser.init(params), MaximumLikelihoodLoss()
    flow = flows.Flow(make_ours(N, key=key), flows.Normal(N), direction="data_to_noise")
    programs, vector = prepared(flow, optimiser, BATCH)
    now = [vector, optimiser.init(vector), jnp.array(True)]
    order = jnp.arange(BATCH)

    def ours() -> Any:
        now[0], now[1], loss, now[2] = programs.step(*now, batch, order, 0, key)
        return loss

    times = medians(
        {
            "ours": ours,
            "theirs": lambda: their_step(params, static, batch, optimizer=optimiser, opt_state=state, loss_fn=loss,
                                         key=key)[2],
        },
        11 if quick else 41,
        0.05,
    )  # fmt: skip
    yield Row(f"digits, {name}: a training step of {BATCH}", times["ours"] / times["theirs"], "× flowjax's", 1.2, True)


# -- densities -----------------------------------------------------------------------------------------------------
def densities(tick: Tick) -> Iterator[Row]:
    tick("densities")
    with jax.enable_x64(True):
        yield Row("a trained flow of the plane: its density integrates to one", integral(), "off", 1e-6, at_most=True)
        generator = np.random.default_rng(0)
        matrix, shift = generator.standard_normal((8, 8)) + 3 * np.eye(8), generator.standard_normal(8)
        x = generator.standard_normal((200, 8))
        affine = flows.Flow(lambda z: jnp.asarray(matrix) @ z + shift, flows.Normal(8), direction="noise_to_data")
        true = stats.multivariate_normal(shift, matrix @ matrix.T).logpdf(x)
        worst = float(np.abs(affine.log_prob(x) - true).max())
        white = flows.Flow(lambda x: jnp.asarray(np.linalg.inv(matrix)) @ (x - shift), flows.Normal(8),
                           direction="data_to_noise")  # fmt: skip
        worst = max(worst, float(np.abs(white.log_prob(x) - true).max()))
        log_normal = flows.Flow(jnp.exp, flows.Normal(8), direction="noise_to_data", inverse=jnp.log)
        true = stats.lognorm(1).logpdf(np.exp(x)).sum(1)
        worst = max(worst, float(np.abs(log_normal.log_prob(np.exp(x)) - true).max()))
        yield Row("affine and Gaussian maps, both directions, against closed forms", worst, "nats", 1e-10, True)


def integral() -> float:
    """|∫ p − 1| of a flow trained on two moons, by the trapezoidal rule: for smooth functions, exact."""
    from sklearn.datasets import make_moons

    points = make_moons(800, noise=0.08, random_state=0)[0]
    smooth = flows.real_nvp(2, key=jr.key(0), layers=4, width=16, activation=jnp.tanh)
    flow = flows.Flow(smooth, flows.Normal(2), direction="data_to_noise")
    flow = flows.fit(flow, points, key=jr.key(1), epochs=40, learning_rate=3e-3).flow
    side = jnp.linspace(-SIDE, SIDE, POINTS)
    total = sum(float(jnp.exp(flow.log_prob(jnp.stack(jnp.meshgrid(side, part), axis=-1))).sum())
                for part in jnp.array_split(side, 8))  # fmt: skip
    return abs(total * float(side[1] - side[0]) ** 2 - 1)


def faces(quick: bool, tick: Tick) -> Iterator[Row]:
    """Glow on 200 photographs of 24×24 pixels, trained a little so that no layer is the identity any more."""
    tick("Glow on faces")
    pixels = jnp.asarray(lfw_subset()[:, None, :24, :24], jnp.float64)
    images = jnp.log(0.05 + 0.9 * pixels) - jnp.log1p(-(0.05 + 0.9 * pixels))
    glow = flows.glow(images.shape[1:], key=jr.key(0), levels=2, steps=2, width=16)
    flow = flows.Flow(glow, flows.Normal(images[0].size), direction="data_to_noise", shape=images.shape[1:])
    fitted = flows.fit(flow, images, key=jr.key(1), epochs=2 if quick else 10, batch_size=20).flow

    def dense(x: Any) -> Any:
        return jnp.linalg.slogdet(jax.jacfwd(lambda v: fitted.data_to_noise(v.reshape(x.shape)).ravel())(x.ravel()))[1]

    log = fitted.log_prob(images[:5]) - jax.vmap(fitted.base.log_prob)(fitted.data_to_noise(images[:5]))
    worst = float(jnp.max(jnp.abs(log / jnp.stack([jax.jit(dense)(x) for x in images[:5]]) - 1)))
    yield Row("log-determinant of Glow on faces (576 pixels) against dense float64", worst, "relative", 1e-10, True)
    back = fitted.noise_to_data(fitted.data_to_noise(images))
    yield Row("the same, its inverse on 200 faces", float(jnp.max(jnp.abs(back - images))), "off", 1e-10, True)


def hutchinson(quick: bool, tick: Tick) -> Iterator[Row]:
    tick("Hutchinson")
    dims, count, seeds = 8, 20, 20 if quick else 100
    with jax.enable_x64(True):
        field = flows.Field(dims, key=jr.key(0), width=32)
        field = jax.tree.map(lambda leaf: 2 * leaf if eqx.is_inexact_array(leaf) else leaf, field)
        make = partial(flows.Continuous, field, tolerance=1e-8)
        exact, rough = (flows.Flow(transform, flows.Normal(dims), direction="data_to_noise")
                        for transform in (make(), make(trace="hutchinson", probes=16)))  # fmt: skip
        x = jr.normal(jr.key(1), (count, dims))
        true = exact.log_prob(x)
        inside, single = 0, 0
        for seed in range(seeds):
            found = rough.log_prob_estimate(x, key=jr.key(seed))
            # The mean over the points: their probes are independent, so that the variances add up.
            bar = float(stats.norm.ppf(0.975) * jnp.sqrt(jnp.sum(found.error**2)) / count)
            inside += abs(float(jnp.mean(found.value - true))) <= bar
            single += int(jnp.sum(jnp.abs(found.value - true) <= found.bar))
    case = f"continuous flow, mean log-likelihood of {count} points: exact value within Hutchinson's 95 % bar"
    yield Row(case, 100 * inside / seeds, "of 100 seeds", 90)
    yield Row("the same, point by point", 100 * single / (seeds * count), "%", 90)


# -- check_flow ----------------------------------------------------------------------------------------------------
def checks(tick: Tick) -> Iterator[Row]:
    mistakes, named, alarms = list(planted()), 0, 0
    for name, arguments, options, kind, said in mistakes:
        tick(f"check_flow: {name}")
        found = jm.check_flow(*arguments, **options)
        named += any(one.kind == kind for one in found.findings) and said in str(found)
    yield Row("planted mistakes found and named by check_flow", named, f"of {len(mistakes)}", len(mistakes))
    healthy = list(right())
    for name, arguments, options in healthy:
        tick(f"check_flow: {name}")
        alarms += not jm.check_flow(*arguments, **options)
    yield Row(f"false alarms on {len(healthy)} right flows", alarms, "", 0, at_most=True)


# -- kills ---------------------------------------------------------------------------------------------------------
TRAINING = """
import sys
import jax.random as jr, numpy as np
from jacmap import flows
data = np.random.default_rng(0).standard_normal((400, 2)) @ np.array([[1.0, 0.6], [0.0, 0.5]])
flow = flows.Flow(flows.real_nvp(2, key=jr.key(0), layers=2, width=8), flows.Normal(2), direction="data_to_noise")
found = flows.fit(flow, data, key=jr.key(1), epochs=400, patience=None, batch_size=40, checkpoint=sys.argv[1])
import jax
np.savez(sys.argv[2], *[leaf for leaf in jax.tree.leaves(found.flow) if hasattr(leaf, "dtype")], losses=found.losses)
"""


def kills(quick: bool, tick: Tick) -> Iterator[Row]:
    """SIGKILL at a random moment of each of ten runs, then to the end: compared with a run never stopped."""
    count = 2 if quick else 10
    generator = random.Random(0)
    with TemporaryDirectory() as folder:
        here = Path(folder)

        def start(name: str) -> subprocess.Popen[bytes]:
            files = [str(here / f"{name}.{end}") for end in ("ckpt", "npz")]
            return subprocess.Popen([sys.executable, "-c", TRAINING, *files])

        tick("a run that is not killed")
        begun = time.monotonic()
        assert start("whole").wait() == 0
        lasting = time.monotonic() - begun
        good = 0
        for k in range(count):
            tick(f"kill -9, run {k}")
            while not killed(start(f"run{k}"), generator.uniform(0.2, 0.8) * lasting):
                (here / f"run{k}.ckpt").unlink()  # it had come to its end: once more
            again = start(f"run{k}").wait()
            left = [file for file in here.iterdir() if file.name.startswith(f".run{k}.")]
            with np.load(here / "whole.npz") as one, np.load(here / f"run{k}.npz") as other:
                same = all((one[name] == other[name]).all() for name in one.files)
            good += again == 0 and same and not left
    case = f"training killed (-9) at {count} random moments: resumed, bit for bit as a run never stopped"
    yield Row(case, good, f"of {count}", count)


def killed(process: subprocess.Popen[bytes], after: float) -> bool:
    """Send SIGKILL after so many seconds; False if the process had ended by itself."""
    try:
        process.wait(after)
        return False
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        return process.wait() == -signal.SIGKILL
