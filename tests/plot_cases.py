"""One drawing per function of jacmap.plot, on small real maps; used by the image tests and by those of what is said."""

from collections.abc import Callable
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np

import jacmap as jm


def square(p):
    """z² in real numbers: det J = 4|z|²."""
    return jnp.stack([p[0] ** 2 - p[1] ** 2, 2 * p[0] * p[1]])


def polar(p):
    """det J = r."""
    return jnp.stack([p[0] * jnp.cos(p[1]), p[0] * jnp.sin(p[1])])


def mobius(p):
    """(z − 1)/(z + 1): det J = 4/|z + 1|⁴, a pole at −1."""
    x, y = p
    size = (x + 1) ** 2 + y**2
    return jnp.stack([(x * x + y * y - 1) / size, 2 * y / size])


def cusp(p):
    """Whitney's cusp: det J = 3x² − 3y, so the fold is y = x² and its image (−2x³, x²)."""
    return jnp.stack([p[0] ** 3 - 3 * p[0] * p[1], p[1]])


def vortex(p):
    """Divergence 0.6x − 0.2, rotation (2 − x² − y²) exp(−(x² + y²)/2)."""
    x, y = p
    decay = jnp.exp(-(x * x + y * y) / 2)
    return jnp.stack([-y * decay + 0.3 * x**2, x * decay - 0.2 * y])


def sphere(p):
    """√det(JᵀJ) = sin(polar angle)."""
    return jnp.stack([jnp.sin(p[0]) * jnp.cos(p[1]), jnp.sin(p[0]) * jnp.sin(p[1]), jnp.cos(p[0])])


def rod(u):
    """Banded: each entry and its neighbours."""
    flow = (1 + u[:-1] ** 2) * jnp.diff(u)
    return u + 0.1 * jnp.diff(flow, prepend=0, append=0)


def bottleneck(x):
    """12 → 3 → 12, so that the chain has two segments."""
    down = jnp.asarray(np.linalg.qr(np.random.default_rng(0).standard_normal((12, 3)))[0])
    return down @ jnp.tanh(0.5 * (down.T @ x))


def deep(x):
    """Six layers of 8, the fourth a thousand times too small."""
    for k in range(6):
        w = np.linalg.qr(np.random.default_rng(k).standard_normal((8, 8)))[0]
        x = jnp.tanh((1e-3 if k == 3 else 1.0) * x @ jnp.asarray(w))
    return x


# Two lengths of one in a plane: |det J| = |sin q₁|.
PLANAR = jm.kinematics.Robot.from_urdf(
    "<robot name='planar'><link name='a'/><link name='b'/><link name='c'/><link name='tip'/>"
    "<joint name='first' type='revolute'><parent link='a'/><child link='b'/><axis xyz='0 0 1'/>"
    "<limit lower='-2' upper='2'/></joint>"
    "<joint name='second' type='continuous'><parent link='b'/><child link='c'/><origin xyz='1 0 0'/>"
    "<axis xyz='0 0 1'/></joint>"
    "<joint name='end' type='fixed'><parent link='c'/><child link='tip'/><origin xyz='1 0 0'/></joint></robot>"
)
RADII = np.logspace(-5, 0, 11)
TRUST = SimpleNamespace(
    radii=RADII, remainders=np.stack([c * RADII**2 for c in (0.1, 1.0, 0.6)]), order=2.0, radius=0.02, tolerance=0.01
)
KEEP_ALL = SimpleNamespace(name="keep all", peak=100, measured=104, time=1.0)
SCHEDULES = [
    KEEP_ALL,
    SimpleNamespace(name="every 4th state", peak=46, measured=None, time=1.22),
    SimpleNamespace(name="optimum", peak=39, measured=41, time=1.3),
    SimpleNamespace(name="recompute all", peak=14, measured=None, time=3.1),
]
MEMORY = SimpleNamespace(name="loss", schedules=SCHEDULES, keep_all=KEEP_ALL, chosen=SCHEDULES[2], budget=45)
RIPPLE = 1.5 * np.stack([np.sin(np.arange(12.0)), np.cos(np.arange(12.0))], -1)[None].repeat(9, axis=0)
BLOB = np.exp(-((np.arange(12.0) - 5) ** 2 + (np.arange(9.0)[:, None] - 4) ** 2) / 8)
WAVE = np.sin(np.arange(64.0)).reshape(8, 8)
POINT = jnp.array([1.5, 0.5])

CASES: dict[str, Callable] = {
    "pattern": lambda **o: jm.plot.pattern(jm.linearize(rod, jnp.linspace(0.0, 1.0, 30)), **o),
    "pattern_large": lambda **o: jm.plot.pattern(jm.linearize(rod, jnp.linspace(0.0, 1.0, 3000)), **o),
    "matrix": lambda **o: jm.plot.matrix(np.array([[3.0, -1.0, np.nan], [1.0, 3.0, 0.0]]), **o),
    "circle_to_ellipse": lambda **o: jm.plot.circle_to_ellipse(cusp, jnp.array([1.0, 0.3]), 0.3, **o),
    "grid": lambda **o: jm.plot.grid(cusp, [-1.0, -0.5], [1.0, 1.0], 9, **o),
    "volume_map": lambda **o: jm.plot.volume_map(cusp, [-1.0, -0.5], [1.0, 1.0], 61, **o),
    "singular_values": lambda **o: jm.plot.singular_values(np.diag([3.0, 1.0, 0.2, 1e-18, 0.0]), **o),
    "sensitivity_map": lambda **o: jm.plot.sensitivity_map(WAVE, np.arange(64.0).reshape(8, 8), **o),
    "vector_field": lambda **o: jm.plot.vector_field(vortex, [-2.0, -2.0], [2.0, 2.0], 9, **o),
    "bars": lambda **o: jm.plot.bars([0.3, -2.0, 1.0], ["a", "b", "c"], [[0, 1], [-3, -1], [0.5, 2]], **o),
    "manipulability_map": lambda **o: jm.plot.manipulability_map(
        PLANAR, [0.5, 1.0], "tip", ("first", "second"), part="translation", **o
    ),
    "before_after": lambda **o: jm.plot.before_after(BLOB, np.roll(BLOB, 3, 1), np.roll(BLOB, 1, 0), **o),
    "residual": lambda **o: jm.plot.residual(np.where(BLOB > 0.9, np.nan, np.roll(BLOB, 1, 0) - BLOB), **o),
    "warped_grid": lambda **o: jm.plot.warped_grid(jm.vision.Flow((9, 12)), RIPPLE.ravel(), (9, 12), 7, **o),
    "trust": lambda **o: jm.plot.trust(TRUST, **o),
    "memory": lambda **o: jm.plot.memory(MEMORY, **o),
    "gradient_flow": lambda **o: jm.plot.gradient_flow(jm.gradient_flow(deep, jnp.full((4, 8), 0.3)), **o),
    "gains": lambda **o: jm.plot.gains(jm.linearize(bottleneck, jax.random.normal(jax.random.key(0), 12)), **o),
}
