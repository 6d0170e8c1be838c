"""JAX's public functions, found by themselves: none may have an entry that the pattern lacks, and none an operation
that the rule table lacks."""

import os
import warnings

import jax
import jax.numpy as jnp
import jax.scipy as jsp
import numpy as np
import pytest
from jax import lax
from jax.experimental.ode import odeint
from pattern_checks import ROUNDING, read, real_outputs, works
from test_rules import primitives

from jacmap.engine.backends.jax.rules import RULES
from jacmap.engine.backends.jax.trace import _INLINED

N = 9
KEY = jax.random.key(3)
AT = np.array([0, 2, 2, 1, 0, 3, 1, 1, 2])


def square(x):
    return x.reshape(3, 3)


def other(x):
    return 1.3 * x[::-1] + 0.1


# Ways of calling a function whose arguments are not known: every way that traces is checked.
WAYS = {
    "matrix": lambda f, x: f(square(x)),
    "vector": lambda f, x: f(x),
    "two vectors": lambda f, x: f(x, other(x)),
    "three vectors": lambda f, x: f(x, other(x), x + 2),
    "two matrices": lambda f, x: f(square(x), square(other(x))),
    "matrix and vector": lambda f, x: f(square(x), x[:3]),
    "vector and number": lambda f, x: f(x, 2),
    "number and vector": lambda f, x: f(2, x),
    "matrix and axis": lambda f, x: f(square(x), axis=0),
    "list of vectors": lambda f, x: f([x, other(x)]),
    "vector and shape": lambda f, x: f(x, (3, 3)),
    "vector and indices": lambda f, x: f(x, AT),
    "mask and vectors": lambda f, x: f(x > 0.5, x, other(x)),
    "mask and vector": lambda f, x: f(np.arange(N) % 2 == 0, x),
    "key and vector": lambda f, x: f(KEY, x),
    "key, vector and shape": lambda f, x: f(KEY, x, (N,)),
    "key and two vectors": lambda f, x: f(KEY, x, other(x)),
    "known matrix and vector": lambda f, x: f(np.triu(np.ones((3, 3))) + np.eye(3), x[:3]),
    "positive definite": lambda f, x: f(square(x) @ square(x).T + jnp.eye(3)),
}

# Not functions of arrays, or they act on files, devices, processes and the interpreter.
SKIPPED = set(
    """
    save savez load fromfile frombuffer fromstring from_dlpack tofile set_printoptions get_printoptions printoptions
    infeed outfeed reshape with_sharding_constraint pcast pvary zeros_like_shaped_array full_like_shaped_array
    array_str array_repr
    """.split()
)

MODULES = {
    "jax.numpy": jnp,
    "jax.lax": lax,
    "jax.nn": jax.nn,
    "jax.numpy.linalg": jnp.linalg,
    "jax.numpy.fft": jnp.fft,
    "jax.scipy.special": jsp.special,
    "jax.scipy.linalg": jsp.linalg,
    "jax.scipy.signal": jsp.signal,
    "jax.scipy.fft": jsp.fft,
    "jax.random": jax.random,
    **{
        f"jax.scipy.stats.{name}": getattr(jsp.stats, name)
        for name in dir(jsp.stats)
        if name not in ("betabinom", "multinomial", "multivariate_normal")
        and (hasattr(getattr(jsp.stats, name), "logpdf") or hasattr(getattr(jsp.stats, name), "logpmf"))
    },
}

# How many ways of calling each function are tried. Compiling the plain Jacobians is what costs: all the ways
# together take ten minutes, the first way of each function that traces takes one.
MOST_WAYS = int(os.environ.get("JACMAP_WAYS_OF_CALLING", 1))

TOGETHER = 40  # functions in one compilation

TRACING_FAILS = (
    TypeError,
    ValueError,
    NotImplementedError,
    IndexError,
    AttributeError,
    AssertionError,
    RuntimeError,
    KeyError,
)

PICTURE = (1, 3, 3, 1)

BY_HAND = {
    "image resize": lambda x: jax.image.resize(square(x), (5, 4), "linear"),
    "image shrink": lambda x: jax.image.resize(square(x), (2, 2), "lanczos3"),
    "scale and translate": lambda x: jax.image.scale_and_translate(
        square(x), (4, 4), (0, 1), x[:2] + 1, x[2:4], "cubic"
    ),
    "map_coordinates": lambda x: jsp.ndimage.map_coordinates(square(x), [x[:4] * 2, x[4:8] * 2], order=1),
    "map": lambda x: lax.map(lambda r: jnp.sin(r) * r[0], square(x)),
    "associative_scan": lambda x: lax.associative_scan(jnp.multiply, x),
    "fori_loop": lambda x: lax.fori_loop(0, 4, lambda i, c: c.at[i].add(c[i + 1] ** 2), x),
    "cond": lambda x: lax.cond(x[0] > 0.5, jnp.sin, jnp.flip, x),
    "switch": lambda x: lax.switch(jnp.argmax(x) % 3, [jnp.sin, jnp.flip, jnp.cumsum], x),
    "custom_root": lambda x: lax.custom_root(
        lambda y: y**3 - x,
        x,
        lambda f, g: lax.fori_loop(0, 30, lambda i, y: y - f(y) / (3 * y**2), g),
        lambda g, y: y / g(jnp.ones_like(y)),
    ),
    "custom_linear_solve": lambda x: lax.custom_linear_solve(
        lambda v: (square(x) + 4 * jnp.eye(3)) @ v, x[:3], lambda _, b: jnp.linalg.solve(square(x) + 4 * jnp.eye(3), b)
    ),
    "cg": lambda x: jsp.sparse.linalg.cg(square(x) @ square(x).T + jnp.eye(3), x[:3])[0],
    "gmres": lambda x: jsp.sparse.linalg.gmres(square(x) + 4 * jnp.eye(3), x[:3])[0],
    "bicgstab": lambda x: jsp.sparse.linalg.bicgstab(lambda v: 4 * v + x[:3] * v[::-1], x[:3])[0],
    "interp": lambda x: jnp.interp(x * 2, jnp.arange(4.0), x[:4]),
    "interp of knots": lambda x: jnp.interp(np.linspace(0, 2, 5), jnp.cumsum(x), x**2),
    "grid interpolator": lambda x: jsp.interpolate.RegularGridInterpolator((np.arange(3.0),) * 2, square(x))(
        x[:8].reshape(4, 2)
    ),
    "polyfit": lambda x: jnp.polyfit(np.arange(9.0), x, 2),
    "piecewise": lambda x: jnp.piecewise(x, [x < 0.3, x > 0.6], [jnp.sin, lambda y: y * 2, 0.5]),
    "select": lambda x: jnp.select([x < 0.3, x > 0.6], [x, x[::-1]], 0.0),
    "einsum": lambda x: jnp.einsum("ij,kj,k->i", square(x), np.tril(np.ones((3, 3))), x[:3]),
    "vectorize": lambda x: jnp.vectorize(jnp.dot, signature="(i),(i)->()")(square(x), square(x)),
    "percentile": lambda x: jnp.percentile(square(x), np.array([20.0, 60.0]), axis=1),
    "apply_along_axis": lambda x: jnp.apply_along_axis(lambda r: r * r[::-1], 1, square(x)),
    "fill_diagonal": lambda x: jnp.fill_diagonal(square(x), x[:3] * 2, inplace=False),
    "insert": lambda x: jnp.insert(x, 2, x[0] * 3),
    "put": lambda x: jnp.put(x, np.array([1, 5]), x[:2] ** 2, inplace=False),
    "delete": lambda x: jnp.delete(x, np.array([1, 5])),
    "take_along_axis": lambda x: jnp.take_along_axis(square(x), jnp.argsort(square(x), 1), 1),
    "histogram weights": lambda x: jnp.histogram(np.linspace(0, 1, 9), bins=4, weights=x)[0],
    "segment_max": lambda x: jax.ops.segment_max(x, AT, 4),
    "segment_prod": lambda x: jax.ops.segment_prod(x, np.arange(9)[::-1], 9, unique_indices=True),
    "segment_sum of x": lambda x: jax.ops.segment_sum(x, (x * 4).astype(jnp.int64), 4),
    "conv": lambda x: lax.conv(x.reshape(1, 1, 3, 3), x[:4].reshape(1, 1, 2, 2), (1, 1), "SAME"),
    "conv_transpose": lambda x: lax.conv_transpose(x.reshape(PICTURE), np.ones((2, 2, 1, 2)), (2, 2), "SAME"),
    "conv patches": lambda x: lax.conv_general_dilated_patches(x.reshape(1, 1, 3, 3), (2, 2), (1, 1), "SAME"),
    "conv_local": lambda x: lax.conv_general_dilated_local(x.reshape(1, 1, 9), np.ones((1, 2, 8)), (1,), "VALID", (2,)),
    "max pool": lambda x: lax.reduce_window(square(x), -jnp.inf, lax.max, (2, 2), (1, 1), "VALID"),
    "dot_product_attention": lambda x: jax.nn.dot_product_attention(
        *[x.reshape(1, 3, 1, 3).astype(jnp.float32)] * 3, is_causal=True
    ),
    "attention with mask": lambda x: jax.nn.dot_product_attention(
        *[x.reshape(1, 3, 1, 3).astype(jnp.float32)] * 3,
        mask=np.tril(np.ones((3, 3), bool), -1)[None, None] | np.eye(3, dtype=bool),
    ),
    "glu": lambda x: jax.nn.glu(x[:8]),
    "logsumexp with weights": lambda x: jsp.special.logsumexp(x, b=x[::-1]),
    "block_diag": lambda x: jsp.linalg.block_diag(square(x), x[:2, None]),
    "toeplitz": lambda x: jsp.linalg.toeplitz(x[:3], x[3:6]),
    "expm": lambda x: jsp.linalg.expm(square(x) * 0.1),
    "sqrtm of a diagonal": lambda x: jnp.sqrt(jnp.diag(x)[:2, :2] + 1),
    "cho_solve": lambda x: jsp.linalg.cho_solve(jsp.linalg.cho_factor(square(x) @ square(x).T + jnp.eye(3)), x[:3]),
    "lu_solve": lambda x: jsp.linalg.lu_solve(jsp.linalg.lu_factor(square(x) + 3 * jnp.eye(3)), x[:3]),
    "lstsq": lambda x: jnp.linalg.lstsq(jnp.concatenate([square(x), jnp.eye(3)]), x[:6])[0],
    "solve_banded by rows": lambda x: lax.linalg.tridiagonal_solve(x[:3], 4 + x[3:6], x[6:], x[:3, None]),
    "eigvalsh of a band": lambda x: jsp.linalg.eigh_tridiagonal(x[:4], x[4:7], eigvals_only=True),
    "dropout": lambda x: jnp.where(jax.random.bernoulli(KEY, 0.5, (N,)), x / 0.5, 0),
    "permutation": lambda x: jax.random.permutation(KEY, x),
    "choice": lambda x: jax.random.choice(KEY, x, (4,)),
    "normal": lambda x: x + x[::-1] * jax.random.normal(KEY, (N,)),
    "gamma": lambda x: jax.random.gamma(KEY, x + 1),
    "beta": lambda x: jax.random.beta(KEY, x + 1, x[::-1] + 1),
    "dirichlet": lambda x: jax.random.dirichlet(KEY, x + 1),
    "multivariate_normal": lambda x: jax.random.multivariate_normal(KEY, x[:3], square(x) @ square(x).T + jnp.eye(3)),
    "checkpoint": jax.checkpoint(lambda x: jnp.sin(x)[::-1]),
    "jvp": lambda x: jax.jvp(lambda y: y**2 * y[0], (x,), (x[::-1],))[1],
    "grad": jax.grad(lambda x: (x[1:] * x[:-1] ** 2).sum()),
    "linearize": lambda x: jax.linearize(jnp.sin, x)[1](x),
    "hessian": lambda x: jax.hessian(lambda y: (y[1:] * y[:-1] ** 2).sum())(x),
    "jacfwd of a scan": lambda x: jax.jacfwd(lambda y: lax.scan(lambda c, a: (c * a, c), 1.0, y)[1])(x[:4]),
    "scan of a scan": lambda x: lax.scan(lambda c, r: lax.scan(lambda d, a: (d * a, d + a), c, r), x[0], square(x)),
    "while with counter": lambda x: lax.while_loop(
        lambda s: s[0] < 3, lambda s: (s[0] + 1, s[1].at[s[0]].mul(s[1][8])), (0, x)
    )[1],
    "long scan with known weights": lambda x: lax.scan(
        lambda c, w: (jnp.where(w > 0, c, jnp.roll(c, 1)), None), x, np.where(np.arange(300) % 2, 1.0, -1.0)
    )[0],
    "segment_sum": lambda x: jax.ops.segment_sum(x, AT, 4),
    "multinomial": lambda x: jsp.stats.multinomial.logpmf(np.array([1, 2, 0]), np.array(3), x[:3] / x[:3].sum()),
    "multivariate normal": lambda x: jsp.stats.multivariate_normal.logpdf(
        x[:3], x[3:6], square(x) @ square(x).T + jnp.eye(3)
    ),
    "reshape": lambda x: lax.reshape(x, (3, 3), (0,)),
}


def reading(function):
    """(graph, pattern) of a function that JAX says it can differentiate, else None."""
    try:
        graph, pattern = read(function, [np.ones(N)])
    except TRACING_FAILS:
        # Some of JAX's own custom rules fail, in our reading as in its differentiation.
        if works(jax.jacfwd, function, [np.ones(N)], 0):
            raise
        return None
    return (graph, pattern) if pattern.shape[0] and graph.forward else None


def found_in(module, most):
    """(name and way, function of one vector) for the first ways that trace of calling a module's functions."""
    for name in sorted(dir(module)):
        function = getattr(module, name)
        if name.startswith("_") or name in SKIPPED or not callable(function) or isinstance(function, type):
            continue
        kept = 0
        for way, call in WAYS.items():
            run = real_outputs(lambda x, call=call, function=function: call(function, x))
            if kept < most and traces(run):
                kept += 1
                yield f"{name} of {way}", run


def traces(function):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return bool(jax.eval_shape(function, np.ones(N)))
    except TRACING_FAILS:
        return False


def jacobians(functions):
    """(name, plain Jacobian) of many functions at three points, from one compilation; None where JAX refuses."""

    def one(function, x):
        try:
            return jax.jacfwd(function)(x)
        except TRACING_FAILS:
            return None

    every = jax.jit(
        lambda x: [one(function, x) for function in functions.values()],
        compiler_options={"xla_backend_optimization_level": 0},
    )
    for seed in range(3):
        found = every(np.random.default_rng(seed).uniform(0.1, 0.9, N))
        for name, blocks in zip(functions, found, strict=True):
            yield name, None if blocks is None else np.concatenate([np.asarray(b).reshape(-1, N) for b in blocks])


def check(functions):
    """How many functions were compared; fails naming those with missing entries or operations without a rule."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        readings = {name: reading(function) for name, function in functions.items()}
        readings = {name: result for name, result in readings.items() if result is not None}
        missing, compared, unknown = set(), set(), {}
        for name in readings:
            lacking = primitives(jax.make_jaxpr(functions[name])(np.ones(N)).jaxpr) - set(RULES) - set(_INLINED)
            if lacking:
                unknown[name] = lacking
        for start in range(0, len(readings), TOGETHER):
            names = list(readings)[start : start + TOGETHER]
            for name, matrix in jacobians({name: functions[name] for name in names}):
                if matrix is not None:
                    compared.add(name)
                    pattern = readings[name][1]
                    size = np.where(np.isfinite(matrix), np.abs(matrix), 0)
                    if (~pattern & (size > ROUNDING * size.max(initial=0))).any():
                        missing.add(name)
    assert not missing
    assert not unknown
    return len(compared)


@pytest.fixture(autouse=True)
def cheap_errors():
    # Most calls are wrong on purpose; filtering their tracebacks is what costs the time.
    before = jax.config.jax_traceback_filtering
    jax.config.update("jax_traceback_filtering", "off")
    yield
    jax.config.update("jax_traceback_filtering", before)


@pytest.mark.parametrize("module", MODULES)
def test_public_functions(module):
    assert check(dict(found_in(MODULES[module], MOST_WAYS)))


def test_a_rule_that_calls_itself_in_its_backward_pass_ends():
    # The backward pass of odeint is an odeint, whose backward pass is an odeint, …
    def function(x):
        return odeint(lambda y, t: -y * x[3], x[:3], jnp.linspace(0, 1, 3))

    x = np.linspace(0.1, 0.9, N)
    graph, pattern = read(function, [x])
    assert (graph.forward, graph.reverse) == (False, True)
    assert not ((np.asarray(jax.jacrev(function)(x)).reshape(pattern.shape) != 0) & ~pattern).any()


def test_functions_called_by_hand():
    functions = {name: real_outputs(function) for name, function in BY_HAND.items()}
    assert check(functions) == len(functions)
