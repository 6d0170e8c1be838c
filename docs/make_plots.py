"""Draws docs/plots.webp: one of each plot, on the maps and networks of examples/."""

import io
import sys
from pathlib import Path
from types import SimpleNamespace

import matplotlib

matplotlib.use("Agg")

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

import jacmap as jm

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "examples"))
jax.config.update("jax_enable_x64", True)

import autoencoder  # noqa: E402
import brusselator  # noqa: E402
import digits  # noqa: E402
import plane_map  # noqa: E402


def cusp(p):
    return jnp.stack([p[0] ** 3 - 3 * p[0] * p[1], p[1]])


def vortex(p):
    decay = jnp.exp(-jnp.sum(p**2) / 2)
    return jnp.stack([-p[1] * decay + 0.3 * p[0] ** 2, p[0] * decay - 0.2 * p[1]])


def main() -> None:
    classifier = jm.linearize(digits.logits, digits.point())
    row = np.asarray(classifier.row(0))
    largest = [f"pixel {j // 8},{j % 8}" for j in range(64)]
    at = jm.taylor(plane_map.f, plane_map.point())
    measured = at.remainder(jnp.array([0.6, 0.8]))
    trust = SimpleNamespace(
        radii=measured.steps, remainders=measured.errors, order=measured.order, tolerance=0.01, radius=0.0316
    )
    fig, axes = plt.subplots(4, 3, figsize=(17, 18), layout="constrained")
    drawings = [
        lambda ax: jm.plot.circle_to_ellipse(plane_map.f, plane_map.point(), ax=ax),
        lambda ax: jm.plot.grid(plane_map.f, [0.2, 0.0], [1.2, 1.0], ax=ax),
        lambda ax: jm.plot.volume_map(cusp, [-1.2, -1.0], [1.2, 1.0], ax=ax),
        lambda ax: jm.plot.vector_field(vortex, [-2.0, -2.0], [2.0, 2.0], ax=ax),
        lambda ax: jm.plot.pattern(jm.linearize(brusselator.rhs, brusselator.point()), ax=ax),
        lambda ax: jm.plot.matrix(classifier, rows=[f"digit {k}" for k in range(10)], ax=ax),
        lambda ax: jm.plot.singular_values(classifier, ax=ax),
        lambda ax: jm.plot.sensitivity_map(row.reshape(8, 8), digits.point(), label="∂logit₀/∂pixel", ax=ax),
        lambda ax: jm.plot.bars(row, largest, most=12, label="∂logit₀/∂pixel", ax=ax),
        lambda ax: jm.plot.trust(trust, ax=ax),
        lambda ax: jm.plot.gains(jm.linearize(autoencoder.reconstruct, autoencoder.point()), ax=ax),
    ]
    for ax, draw in zip(axes.ravel(), drawings, strict=False):
        draw(ax)
    axes[-1, -1].remove()
    drawn = io.BytesIO()
    fig.savefig(drawn, dpi=60)
    Image.open(drawn).convert("RGB").save(ROOT / "docs/plots.webp", quality=88, method=6)


if __name__ == "__main__":
    main()
