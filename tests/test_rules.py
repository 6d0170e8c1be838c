"""Every row of the rule table, checked numerically against plain JAX. A row without an example fails."""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import jax.scipy as jsp
import numpy as np
import pytest
from jax import lax
from jax.ad_checkpoint import checkpoint_name
from jax.experimental import sparse
from pattern_checks import nonzero, read, real_outputs, true_jacobian, works

from jacmap.engine.backends.jax.rules import RULES

POINTS = 60


class Example:
    """A function that emits the operation, and the shapes (or whole arrays) of its arguments.

    Arguments given by shape are drawn from `domain`; integer and boolean arrays stay as they are. `loose` says why
    an example of an exact row does not reach every entry of its pattern.
    """

    def __init__(self, function, *args, domain=(-1.5, 1.5), loose=""):
        self.function, self.args, self.domain, self.loose = real_outputs(function), args, domain, loose

    def point(self, seed):
        rng = np.random.default_rng(seed)
        return [rng.uniform(*self.domain, size=a) if isinstance(a, tuple) else np.asarray(a) for a in self.args]


def E(function, *args, **options):
    return Example(function, *args, **options)


V, M = (4,), (2, 3)


def unary(function, domain=(-1.5, 1.5)):
    return [E(function, M, domain=domain)]


def binary(function, domain=(0.2, 1.8)):
    return [E(function, M, M, domain=domain), E(lambda x: function(x, x[::-1]), M, domain=domain)]


def complex_of(x):
    return lax.complex(x[0], x[1])


def symmetric(x):
    return x @ x.T + 3 * jnp.eye(x.shape[0])


def integers(function):
    """An operation on integers, told to follow a real input: no derivative passes."""
    return [E(lambda x: function(jnp.floor(x * 9).astype(jnp.int64)).astype(jnp.float64), V, domain=(0.1, 3))]


def booleans(function):
    return [E(lambda x: function(x > 0).astype(jnp.float64), M)]


@jax.custom_vjp
def straight_through(x):
    return jnp.round(x)


straight_through.defvjp(lambda x: (jnp.round(x), None), lambda _, c: (c,))


@jax.custom_vjp
def swapped(x, k, y):
    return x * y, k + 1


swapped.defvjp(
    lambda x, k, y: ((x * y, k + 1), (x, y)), lambda r, c: (c[0][::-1] * r[1], None, jnp.roll(c[0], 1) * r[0])
)


@jax.custom_jvp
def gated(x, gate):
    return x * gate


gated.defjvp(lambda p, t: (p[0] * p[1], jnp.where(p[1] > 0, t[0] * p[1], 0.0) + t[1][::-1] * p[0]))


@jax.custom_vjp
def stopped(x):
    return x[::-1] * 2


stopped.defvjp(lambda x: (x[::-1] * 2, None), lambda _, c: (jnp.where(lax.stop_gradient(c)[::-1] > 0, jnp.sign(c), c),))


@jax.custom_jvp
def linear(x):
    return jnp.cumsum(x)


linear.defjvp(lambda p, t: (linear(*p), linear(*t)))


@jax.custom_batching.custom_vmap
def by_hand(x):
    return jnp.sin(x)[::-1]


by_hand.def_vmap(lambda size, batched, x: (jnp.sin(x)[..., ::-1], batched[0]))


def conv(window, **options):
    def run(x, k):
        return lax.conv_general_dilated(x, k, window_strides=window, **options)

    return run


def holed(kernel):
    kernel = kernel.copy()
    kernel[..., ::2] = 0
    return kernel


def linear_solve(a, b):
    tri = jnp.tril(a) + 4 * jnp.eye(3)

    def solve(matvec, c):
        return jax.scipy.linalg.solve_triangular(tri, c, lower=True)

    def transposed(vecmat, c):
        return jax.scipy.linalg.solve_triangular(tri.T, c, lower=False)

    return lax.custom_linear_solve(lambda v: tri @ v, b, solve, transposed)


def unsorted(x):
    """Values far enough apart that a random point can put them in any order."""
    return x * 5


def lt_to(x, y):
    return jnp.floor(jsp.linalg.expm(jnp.outer(x, y)))


def le_to(x):
    grid = (np.arange(3.0), np.arange(3.0))
    return jnp.floor(jsp.interpolate.RegularGridInterpolator(grid, np.ones((3, 3)))(x[:, :2]))


def loop(length, reverse=False):
    def run(x, c, ys):
        def step(carry, y):
            return jnp.roll(carry, 1) * c + y, carry[:2] * y[0]

        return lax.scan(step, x, ys, length=length, reverse=reverse)

    return run


def repeat(start, c):
    return lax.while_loop(lambda s: s[1] < 3, lambda s: (jnp.roll(s[0], 1) * c, s[1] + 1), (start, 0))[0]


def take(table, at, **options):
    return jnp.asarray(table).at[at].get(**options)


def windowed(function, initial, **options):
    return lambda x: lax.reduce_window(x, initial, function, (2, 3), (1, 2), "SAME", **options)


def dropped(x, at, u, method, **options):
    return getattr(x.at[at], method)(u, **options)


AT = np.array([3, 1, 1, 7])
MATRIX = np.triu(np.random.default_rng(0).normal(size=(3, 4)))
SPARSE = sparse.BCOO.fromdense(jnp.asarray(MATRIX))
INDEX = np.array([[0, 1], [2, 0], [2, 3]])
COMPLEX = "the two parts of a complex entry are one entry of a pattern"
KEY = jax.random.key(0)


def bcoo(values, shape=(3, 4), index=INDEX):
    return sparse.BCOO((values, jnp.asarray(index)), shape=shape)


EXAMPLES = {
    # -- entry by entry
    "abs": [*unary(jnp.abs), E(lambda x: jnp.abs(complex_of(x)), M)],
    "acos": unary(lax.acos, (-0.9, 0.9)),
    "acosh": unary(lax.acosh, (1.1, 3)),
    "asin": unary(lax.asin, (-0.9, 0.9)),
    "asinh": unary(lax.asinh),
    "atan": unary(lax.atan),
    "atan2": binary(lax.atan2),
    "atanh": unary(lax.atanh, (-0.9, 0.9)),
    "bessel_i0e": unary(lax.bessel_i0e),
    "bessel_i1e": unary(lax.bessel_i1e),
    "cbrt": unary(lax.cbrt),
    "clamp": [
        E(lambda x: lax.clamp(-0.5, x, 0.5), M),
        E(lax.clamp, M, M, M, loose="the arguments that are known decide"),
    ],
    "cos": unary(jnp.cos),
    "cosh": unary(jnp.cosh),
    "digamma": unary(lax.digamma, (0.5, 3)),
    "erf": unary(lax.erf),
    "erf_inv": unary(lax.erf_inv, (-0.9, 0.9)),
    "erfc": unary(lax.erfc),
    "exp": [*unary(jnp.exp), E(lambda x: jnp.exp(complex_of(x)), M)],
    "exp2": unary(jnp.exp2),
    "expm1": unary(jnp.expm1),
    "igamma": [E(lambda a, x: lax.igamma(a, x), M, M, domain=(0.5, 2))],
    "igamma_grad_a": [E(lax.igamma_grad_a, M, M, domain=(0.5, 2))],
    "igammac": [E(lambda a, x: lax.igammac(a, x), M, M, domain=(0.5, 2))],
    "lgamma": unary(lax.lgamma, (0.5, 3)),
    "log": unary(jnp.log, (0.5, 3)),
    "log1p": unary(jnp.log1p, (-0.5, 3)),
    "logistic": unary(lax.logistic),
    "max": binary(lax.max),
    "min": binary(lax.min),
    "nextafter": binary(lax.nextafter),
    "polygamma": [E(lax.polygamma, np.full(M, 2.0), M, domain=(0.5, 3))],
    "pow": [*binary(lax.pow), E(lambda x: lax.pow(x, 3), M)],
    "random_gamma": [E(lambda a: jax.random.gamma(KEY, a), M, domain=(0.5, 3))],
    "regularized_incomplete_beta": [E(lax.betainc, np.full(M, 2.0), np.full(M, 3.0), M, domain=(0.1, 0.9))],
    "rem": [E(lax.rem, M, M, domain=(0.2, 1.8))],
    "rsqrt": unary(lax.rsqrt, (0.5, 3)),
    "sin": unary(jnp.sin),
    "sinh": unary(jnp.sinh),
    "sqrt": unary(jnp.sqrt, (0.5, 3)),
    "square": unary(lax.square),
    "tan": unary(jnp.tan),
    "tanh": unary(jnp.tanh),
    "zeta": [E(lax.zeta, np.full(M, 2.0), M, domain=(0.5, 2))],
    "add": [*binary(jnp.add), E(lambda x, y: x[:, None] + y[None], V, (3,))],
    "add_any": [E(lambda x: jax.vjp(lambda y: y * jnp.sin(y), x)[1](x)[0], M)],
    "sub": binary(jnp.subtract),
    "neg": unary(jnp.negative),
    "real": [E(lambda x: jnp.real(complex_of(x)), M, loose=COMPLEX)],
    "imag": [E(lambda x: jnp.imag(complex_of(x) * 1j), M, loose=COMPLEX)],
    "conj": [E(lambda x: jnp.conj(complex_of(x)), M, loose=COMPLEX)],
    "complex": [E(lax.complex, M, M, loose=COMPLEX)],
    "copy": unary(lambda x: jnp.array(x, copy=True)),
    "convert_element_type": [
        E(lambda x: x.astype(jnp.float32).astype(jnp.float64), M),
        E(lambda x: x.astype(jnp.complex128) * (1 + 2j), M),
    ],
    "name": unary(lambda x: checkpoint_name(x, "here")),
    "sharding_constraint": unary(
        lambda x: lax.with_sharding_constraint(x, jax.sharding.SingleDeviceSharding(jax.devices()[0]))
    ),
    "reduce_precision": unary(lambda x: lax.reduce_precision(x, 8, 23)),
    "device_put": [E(lambda x, y: jax.device_put((x * 2, y, x)), M, V)],
    "optimization_barrier": [E(lambda x, y: lax.optimization_barrier((x, y, jnp.arange(3), x * y)), M, M)],
    "mul": [
        *binary(jnp.multiply),
        E(lambda x: x * np.array([[1.0, 0, 2], [0, 0, 3]]), M),
        E(lambda x: complex_of(x) * (1 - 2j), M),
    ],
    "div": [*binary(jnp.divide), E(lambda x: np.array([[1.0, 0, 2], [0, 0, 3]]) / x, M, domain=(0.5, 2))],
    "integer_pow": [E(lambda x: lax.integer_pow(x, 3), M), E(lambda x: lax.integer_pow(x, -2), M, domain=(0.5, 2))],
    "select_n": [
        E(lambda x, y: jnp.where(x > 0, x, y), M, M),
        E(lambda x, y: jnp.where(np.array([True, False, True]), x, y), M, M),
        E(lambda x, y: lax.select_n(np.array(1), x, y), M, M),
        E(lambda w, *x: lax.select_n(w, *x), np.array([[0, 1, 2], [2, 2, 1]], np.int32), M, M, M),
    ],
    # -- no derivative
    **{
        name: unary(function)
        for name, function in {
            "ceil": jnp.ceil,
            "floor": jnp.floor,
            "round": jnp.round,
            "sign": jnp.sign,
            "stop_gradient": lax.stop_gradient,
        }.items()
    },
    "eq": [E(lambda x, y: (x == y).astype(jnp.float64), M, M)],
    "ne": [E(lambda x, y: (x != y).astype(jnp.float64), M, M)],
    "ge": [E(lambda x, y: (x >= y).astype(jnp.float64), M, M)],
    "gt": [E(lambda x, y: (x > y).astype(jnp.float64), M, M)],
    "le": [E(lambda x, y: (x <= y).astype(jnp.float64), M, M)],
    "lt": [E(lambda x, y: (x < y).astype(jnp.float64), M, M)],
    "le_to": [E(lambda x: le_to(x), M)],
    "lu_pivots_to_permutation": integers(
        lambda i: lax.linalg.lu_pivots_to_permutation(jnp.minimum(jnp.abs(i), 3).astype(jnp.int32), 4)
    ),
    "lt_to": [E(lambda x: lt_to(x, x[::-1]).astype(jnp.float64), V)],
    "platform_index": [E(lambda x: jnp.floor(lax.platform_dependent(x, cpu=jnp.sin, default=jnp.cos)), V)],
    "is_finite": [E(lambda x: jnp.isfinite(x).astype(jnp.float64), M)],
    "and": booleans(lambda b: b & b[::-1]),
    "or": booleans(lambda b: b | b[::-1]),
    "xor": booleans(lambda b: b ^ b[::-1]),
    "not": booleans(lambda b: ~b),
    "reduce_and": booleans(lambda b: b.all(0)),
    "reduce_or": booleans(lambda b: b.any(0)),
    "reduce_xor": booleans(lambda b: lax.reduce_xor(b, axes=(0,))),
    "argmax": [E(lambda x: jnp.argmax(x, 0).astype(jnp.float64), M)],
    "argmin": [E(lambda x: jnp.argmin(x, 1).astype(jnp.float64), M)],
    "bitcast_convert_type": [E(lambda x: lax.bitcast_convert_type(x, jnp.int64).astype(jnp.float64), M)],
    "clz": integers(lax.clz),
    "population_count": integers(lax.population_count),
    "mulhi": integers(lambda i: lax.mulhi(i, i)),
    "shift_left": integers(lambda i: i << 2),
    "shift_right_arithmetic": integers(lambda i: i >> 1),
    "shift_right_logical": integers(lambda i: lax.shift_right_logical(i, jnp.int64(1))),
    "iota": [E(lambda x: x * 0 + lax.iota(jnp.float64, 4), V)],
    "random_bits": integers(lambda i: jax.random.bits(jax.random.key(i[0]), (3,))),
    "random_seed": integers(lambda i: jax.random.bits(jax.random.key(i[0]), (3,))),
    "random_fold_in": integers(lambda i: jax.random.bits(jax.random.fold_in(KEY, i[0]), (3,))),
    "random_split": integers(lambda i: jax.random.bits(jax.random.split(jax.random.key(i[0]))[0], (3,))),
    "random_unwrap": integers(lambda i: jax.random.key_data(jax.random.key(i[0]))),
    "random_wrap": integers(lambda i: jax.random.bits(jax.random.PRNGKey(i[0]), (3,))),
    "random_clone": integers(lambda i: jax.random.bits(jax.random.clone(jax.random.key(i[0])), (3,))),
    "threefry2x32": integers(
        lambda i: jax.extend.random.threefry_2x32(jnp.arange(2, dtype=jnp.uint32), i.astype(jnp.uint32))
    ),
    "rng_bit_generator": integers(lambda i: lax.rng_bit_generator(i.astype(jnp.uint64)[:2], (3,))[1]),
    "debug_callback": [E(lambda x: (jax.debug.callback(lambda y: None, x), jnp.floor(x))[1], M)],
    # -- movement
    "reshape": [E(lambda x: x.reshape(3, 2), M), E(lambda x: x.reshape(3, 2, order="F"), M)],
    "squeeze": [E(lambda x: jnp.squeeze(x, 1), (2, 1, 3))],
    "transpose": [E(lambda x: x.transpose(2, 0, 1), (2, 3, 4))],
    "rev": unary(lambda x: x[:, ::-1]),
    "slice": [E(lambda x: x[1:, ::2], (3, 5))],
    "broadcast_in_dim": [E(lambda x: jnp.broadcast_to(x[:, None], (2, 3, 2)), (2, 2))],
    "concatenate": [E(lambda x, y: jnp.concatenate([x, y, x], 1), M, (2, 2))],
    "stack": [E(lambda x, y: lax.stack([x, y], 1) if hasattr(lax, "stack") else jnp.stack([x, y], 1), M, M)],
    "unstack": [E(lambda x: lax.unstack(x, 1) if hasattr(lax, "unstack") else jnp.unstack(x, axis=1), M)],
    "tile": unary(lambda x: lax.tile(x, (2, 3)) if hasattr(lax, "tile") else jnp.tile(x, (2, 3))),
    "pad": [
        E(lambda x, v: lax.pad(x, v, [(1, 2, 1), (-1, 3, 0)]), M, ()),
        E(lambda x: lax.pad(x, 0.0, [(0, -2, 2), (1, 0, 0)]), M),
    ],
    "split": [E(lambda x: lax.split(x, [2, 3], axis=1), (2, 5))],
    # -- indexing
    "dynamic_slice": [
        E(lambda x, i: lax.dynamic_slice(x, (i, 0), (2, 3)), (5, 3), np.array(2)),
        E(lambda x: lax.dynamic_slice(x, (7, 1), (2, 2)), (5, 3)),
    ],
    "dynamic_update_slice": [
        E(lambda x, u, i: lax.dynamic_update_slice(x, u, (i, 0)), (5, 3), (2, 3), np.array(9)),
        E(lambda x, u: lax.dynamic_update_slice(x, u, (1, 1)), (5, 3), (2, 2)),
    ],
    "gather": [
        E(lambda x, i: x[i], (5, 3), AT),
        E(lambda x, i: take(x, i, mode="fill", fill_value=2.0), (5, 3), AT),
        E(lambda x, i: take(x, i, mode="promise_in_bounds"), (8,), AT),
        E(lambda x, i: take(x, i, mode="clip"), (5, 3), AT),
        E(lambda x, i: jnp.take_along_axis(x, i, 1), (2, 5), np.array([[0, 4], [2, 2]])),
        E(lambda x, i: jax.vmap(lambda y, j: lax.dynamic_slice(y, (j,), (2,)))(x, i), (3, 5), np.array([0, 9, 2])),
    ],
    "scatter": [
        E(lambda x, i, u: dropped(x, i, u, "set"), (5,), np.array([3, 1, 7]), (3,)),
        E(lambda x, i, u: dropped(x, i, u, "set"), (5, 2), np.array([3, 1]), (2, 2)),
        E(lambda x, i, u: dropped(x, i, u, "set", mode="clip"), (5,), np.array([1, 7]), (2,)),
        E(lambda x, i, u: x.at[i].set(u), (5,), AT[:3], (3,), loose="the last of two updates of one entry wins"),
    ],
    "scatter-add": [E(lambda x, i, u: x.at[i].add(u), (5, 2), AT, (4, 2)), E(lambda u: jnp.zeros(5).at[AT].add(u), V)],
    "scatter-sub": [E(lambda x, i, u: x.at[i].subtract(u), (5,), AT, (4,))],
    "scatter-mul": [E(lambda x, i, u: x.at[i].multiply(u, unique_indices=True), (5,), np.array([3, 1, 7]), (3,))],
    "scatter-min": [E(lambda x, i, u: x.at[i].min(u), (5,), AT, (4,))],
    "scatter-max": [E(lambda x, i, u: x.at[i].max(u), (5,), AT, (4,))],
    # -- reductions, windows, couplings
    "reduce_sum": [E(lambda x: x.sum((0, 2)), (2, 3, 2))],
    "reduce_max": [E(lambda x: x.max(1), (2, 3))],
    "reduce_min": [E(lambda x: x.min(0), (2, 3))],
    "reduce_prod": [E(lambda x: x.prod(1), (2, 3))],
    "reduce": [
        E(lambda x: lax.reduce(x, jnp.float64(1), lambda a, b: a * b + 1, (1,)), M),
        E(lambda x: lax.reduce((x, x * 2), (0.0, 0.0), lambda a, b: (a[0] + b[0], a[1] + b[1]), (1,)), M),
    ],
    "cumsum": [E(lambda x: lax.cumsum(x, 1), M), E(lambda x: lax.cumsum(x, 0, reverse=True), (3, 2))],
    "cumprod": [E(lambda x: lax.cumprod(x, 1), M)],
    "cummax": [E(lambda x: lax.cummax(x, 1), (2, 3))],
    "cummin": [E(lambda x: lax.cummin(x, 0, reverse=True), (3, 2))],
    "cumlogsumexp": [E(lambda x: lax.cumlogsumexp(x, 0), (3, 2))],
    "sort": [
        E(lambda x: lax.sort(x, dimension=0), (2, 3)),
        E(lambda x, y: lax.sort((x, y), dimension=1, num_keys=1), (2, 2), (2, 2), loose="known keys decide"),
    ],
    "top_k": [E(lambda x: lax.top_k(x, 2)[0], (2, 3))],
    "approx_top_k": [E(lambda x: lax.approx_max_k(x, 2)[0], (2, 3))],
    "reduce_window": [E(windowed(lambda a, b: a * b + a + b, 0.0), (3, 5))],
    "reduce_window_sum": [
        E(windowed(lax.add, 0.0), (3, 5)),
        E(
            lambda x: lax.reduce_window(
                x, 0.0, lax.add, (2,), (2,), [(1, 2)], base_dilation=(2,), window_dilation=(2,)
            ),
            (5,),
        ),
    ],
    "reduce_window_max": [E(windowed(lax.max, -jnp.inf), (3, 5), loose="random points do not see every order")],
    "reduce_window_min": [E(windowed(lax.min, jnp.inf), (3, 5), loose="random points do not see every order")],
    "select_and_gather_add": [
        E(lambda x, t: jax.jvp(windowed(lax.max, -jnp.inf), (x,), (t,))[1], (3, 5), (3, 5), loose="as above")
    ],
    "select_and_scatter_add": [
        E(lambda x, c: jax.vjp(windowed(lax.max, -jnp.inf), x)[1](c)[0], (3, 5), (3, 3), loose="as above")
    ],
    # -- contractions
    "dot_general": [
        E(lambda a, b: a @ b, (2, 3), (3, 4)),
        E(lambda a, b: jnp.einsum("bik,bkj->bij", a, b), (2, 3, 2), (2, 2, 3)),
        E(lambda a, b: jnp.einsum("kbi,jbk->bji", a, b), (3, 2, 2), (3, 2, 3)),
        E(lambda x: MATRIX @ x, (4, 2)),
        E(lambda x: x @ (MATRIX * np.array([1.0, 0, 1, 0])), (2, 3)),
        E(lambda a, b: jnp.vdot(a, b), V, V),
    ],
    "conv_general_dilated": [
        E(conv((1, 1), padding="SAME"), (1, 2, 3, 4), (3, 2, 2, 3)),
        E(conv((2,), padding=[(2, 1)], lhs_dilation=(2,), rhs_dilation=(2,)), (2, 2, 5), (2, 2, 2)),
        E(conv((1,), padding="VALID", feature_group_count=2), (1, 4, 5), (4, 2, 2)),
        E(
            conv((1,), padding="VALID", batch_group_count=2),
            (4, 2, 4),
            (4, 2, 2),
            loose="batch groups are not told apart",
        ),
        E(conv((1, 2), padding="SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")), (1, 3, 4, 2), (2, 2, 2, 3)),
        E(lambda x: conv((1,), padding=[(3, 3)])(x, holed(np.ones((2, 2, 3)))), (1, 2, 4)),
    ],
    "scaled_dot": [E(lax.scaled_dot, (2, 3), (3, 2))],
    "ragged_dot_general": [E(lambda a, b: lax.ragged_dot(a, b, jnp.array([2, 3])), (5, 2), (2, 2, 3))],
    # -- linear algebra
    "cholesky": [E(lambda x: lax.linalg.cholesky(symmetric(x)), (3, 3))],
    "triangular_solve": [
        E(
            lambda a, b, left=left, lower=lower, turn=turn, unit=unit: lax.linalg.triangular_solve(
                a, b, left_side=left, lower=lower, transpose_a=turn, unit_diagonal=unit
            ),
            (2, 3, 3),
            (2, 3, 2) if left else (2, 2, 3),
            domain=(0.5, 1.5),
        )
        for left, lower, turn, unit in [
            (True, True, False, False),
            (True, False, False, True),
            (False, True, False, False),
            (False, False, True, False),
            (True, True, True, False),
            (False, True, True, True),
        ]
    ],
    "tridiagonal_solve": [E(lambda d, b: lax.linalg.tridiagonal_solve(d, 4 + d, d, b), (4,), (4, 2))],
    "fft": [
        E(lambda x: jnp.fft.fft(x), (2, 3), loose=COMPLEX),
        E(lambda x: jnp.fft.rfft2(x), (2, 4), loose=COMPLEX),
        E(lambda x: jnp.fft.irfft(complex_of(x), 4), (2, 3), loose="the imaginary part of the mean is not read"),
    ],
    "lu": [E(lambda x: lax.linalg.lu(x + 3 * jnp.eye(3))[0], (2, 3, 3))],
    "qr": [E(lambda x: jnp.linalg.qr(x), (2, 3, 2))],
    "svd": [E(lambda x: jnp.linalg.svd(x, full_matrices=False), (2, 3, 2))],
    "eig": [E(lambda x: jnp.linalg.eigvals(x), (2, 3, 3))],
    "eigh": [E(lambda x: jnp.linalg.eigh(symmetric(x)), (3, 3))],
    "schur": [E(lambda x: jax.scipy.linalg.schur(x), (3, 3))],
    "hessenberg": [E(lambda x: lax.linalg.hessenberg(x), (3, 3))],
    "householder_product": [E(lambda a, t: lax.linalg.householder_product(a, t), (3, 2), (2,))],
    "tridiagonal": [E(lambda x: lax.linalg.tridiagonal(x + x.T), (3, 3))],
    "ormqr": [E(lambda a, t, c: lax.linalg.ormqr(a, t, c), (3, 2), (2,), (3, 2))],
    "cholesky_update": [E(lambda r, w: lax.linalg.cholesky_update(r, w), (3, 3), (3,))],
    "symmetric_product": [E(lambda a, c: lax.linalg.symmetric_product(a, c), (3, 2), (3, 3))],
    # -- bodies
    "custom_jvp_call": [
        E(linear, V),
        E(gated, V, V, loose="the gate may close"),
        E(jax.nn.relu, M),
        E(lambda x: jax.nn.relu6(x * np.array([1.0, 0, 2])), M, loose="the clip may close"),
    ],
    "custom_vjp_call": [
        E(stopped, V, loose="the sign of a cotangent decides"),
        E(straight_through, M),
        E(lambda x, y: swapped(x, 3, y), V, V),
    ],
    "custom_vmap_call": [E(by_hand, V)],
    "composite": [E(lambda x: lax.composite(lambda y: jnp.sin(y)[::-1], name="a.b")(x), V)],
    "cond": [
        E(lambda x, y: lax.cond(x[0] > 0, lambda: x * y[::-1], lambda: x[::-1]), V, V),
        E(lambda i, x: lax.switch(i, [lambda y: y, jnp.flip, jnp.cumsum], x), np.array(2), V),
    ],
    "scan": [
        E(loop(3), V, (), (3, 4)),
        E(loop(3, reverse=True), V, (), (3, 4)),
        E(loop(70), V, (), (70, 4)),
        E(lambda x: lax.fori_loop(0, 3, lambda i, c: c.at[i].set(c[i + 1] * 2), x), V),
        E(lambda x: lax.map(lambda r: jnp.sin(r[::-1]), x), M),
    ],
    "while": [E(repeat, V, ())],
    "custom_linear_solve": [
        E(linear_solve, (3, 3), (3,)),
        E(lambda a, b: jnp.linalg.solve(a + 4 * jnp.eye(3), b), (3, 3), (3, 2)),
    ],
    # -- sparse arrays
    "bcoo_dot_general": [E(lambda x: SPARSE @ x, (4, 2)), E(lambda v, x: bcoo(v) @ x, (3,), (4,))],
    "bcoo_todense": [E(lambda v: bcoo(v).todense(), (3,))],
    "bcoo_extract": [E(lambda x: sparse.bcoo_extract(bcoo(jnp.ones(3)), x, assume_unique=True), (3, 4))],
    "bcoo_fromdense": [E(lambda x: sparse.bcoo_fromdense(x, nse=6).data, M)],
    "bcoo_transpose": [E(lambda v: bcoo(v).T.todense(), (3,))],
    "bcoo_sort_indices": [E(lambda v: bcoo(v, index=INDEX[::-1]).sort_indices().data, (3,))],
    "bcoo_sum_duplicates": [E(lambda v: bcoo(v, index=INDEX[[0, 1, 1]]).sum_duplicates(nse=2).data, (3,))],
    "bcoo_dot_general_sampled": [
        E(
            lambda a, b: sparse.bcoo_dot_general_sampled(
                a, b, jnp.asarray(INDEX), dimension_numbers=(((1,), (0,)), ((), ()))
            ),
            (3, 2),
            (2, 4),
        )
    ],
    "bcoo_spdot_general": [E(lambda v, w: (bcoo(v) @ bcoo(w, (4, 3), INDEX[:, ::-1])).todense(), (3,), (3,))],
    "bcsr_dot_general": [E(lambda x: sparse.BCSR.from_bcoo(SPARSE) @ x, (4, 2))],
    "bcsr_todense": [
        E(lambda x: sparse.BCSR((x, jnp.array([1, 0, 3]), jnp.array([0, 1, 1, 3])), shape=(3, 4)).todense(), (3,))
    ],
    "bcsr_extract": [E(lambda x: sparse.bcsr_extract(jnp.array([1, 0, 3]), jnp.array([0, 1, 1, 3]), x), (3, 4))],
    "bcsr_fromdense": [E(lambda x: sparse.bcsr_fromdense(x, nse=6).data, M)],
}


def primitives(jaxpr):
    found = set()
    for eqn in jaxpr.eqns:
        found.add(eqn.primitive.name)
        for inner in jax.tree_util.tree_leaves(list(eqn.params.values()), is_leaf=lambda p: hasattr(p, "eqns")):
            body = getattr(inner, "jaxpr", inner)
            if hasattr(body, "eqns"):
                found |= primitives(body)
    return found


def cases():
    for name, examples in EXAMPLES.items():
        for number, example in enumerate(examples):
            for position, value in enumerate(example.point(0)):
                if value.dtype.kind == "f":
                    yield pytest.param(name, example, position, id=f"{name}-{number}-{position}")


def test_every_row_has_an_example():
    assert sorted(RULES) == sorted(name for name, examples in EXAMPLES.items() if examples)


@pytest.mark.parametrize("name, example, position", list(cases()))
def test_row(name, example, position):
    rule, function, args = RULES[name], example.function, example.point(0)
    assert name in primitives(jax.make_jaxpr(function)(*args).jaxpr), "the example does not emit the operation"
    graph, unaware = read(function, args, position)
    given = {i: a for i, a in enumerate(args) if i != position}
    _, aware = read(function, args, position, given)

    forward, reverse = works(jax.jacfwd, function, args, position), works(jax.jacrev, function, args, position)
    assert (graph.forward, graph.reverse) == (forward, reverse), "modes"
    assert not (aware & ~unaware).any(), "knowing more must not add entries"
    if not (forward or reverse):
        return

    jacobian = true_jacobian(function, args, position, forward)
    seen = np.zeros(aware.shape, bool)
    found = []
    for seed in range(POINTS):
        there = example.point(seed)
        assert not (nonzero(jacobian(*there)) & ~unaware).any(), "missing entries, other arguments unknown"
        here = [there[i] if i == position else a for i, a in enumerate(args)]
        found.append(jacobian(*here))
        seen |= nonzero(found[-1])
    assert not (seen & ~aware).any(), "missing entries, other arguments known"
    if rule.kind == "none":
        assert not aware.any()
    if rule.exact and not example.loose:
        np.testing.assert_array_equal(aware, seen)
    if graph.is_affine:
        np.testing.assert_allclose(found[0], found[1], rtol=1e-9, atol=1e-12)


def test_the_page_of_operations_is_up_to_date():
    path = Path(__file__).parents[1] / "docs" / "make_operations.py"
    spec = importlib.util.spec_from_file_location("make_operations", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PAGE.read_text(encoding="utf-8") == module.page(), "run: python docs/make_operations.py"
