"""Every row of the translation to JAX, against the operation itself: values and gradients in float64."""

import jax
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_torch_rules import EXAMPLES, E, M, spread
from torch_checks import parts

from jacmap._torch.to_jax import in_jax
from jacmap._torch.to_jax.function import _Translation
from jacmap._torch.to_jax.table import TABLE

aten = torch.ops.aten

# Rows of the rules that have no translation, and why.
WITHOUT = {
    "fractional_max_pool2d": "no word for it in JAX",
}


def unary(name, domain=(-1.5, 1.5), *rest):
    return [E(lambda x: getattr(aten, name)(x, *rest), M, domain=domain)]


def binary(name, domain=(-1.5, 1.5)):
    return [E(lambda x, y: getattr(aten, name)(x, y), M, M, domain=domain)]


def truth(function, *shapes):
    """An operation that gives booleans or integers, seen through a product."""
    return [E(lambda x, *rest: x.sum() * function(x, *rest), *(shapes or (M,)))]


def inner_gradient(function, x):
    """A gradient that f takes inside itself."""
    return torch.autograd.grad(function(x), x, create_graph=True)[0]


def triangle(x, upper):
    return spread(x).triu() if upper else spread(x).tril()


MASK = torch.tensor([[True, False, True], [False, True, True]])
NUMBERS = torch.tensor([[1, 2, 3], [4, 5, 6]])
TARGET = torch.tensor([[0.2, 0.7, 0.4], [0.9, 0.1, 0.5]], dtype=torch.float64)

MORE = {
    **{
        name: unary(name)
        for name in """
        abs exp exp2 expm1 sin cos tanh sinh cosh tan atan asinh sinc square sigmoid relu silu mish erf erfc i0
        special_i0e special_i1 special_i1e special_erfcx special_log_ndtr special_ndtr positive deg2rad
        rad2deg frac hardswish hardsigmoid elu celu hardshrink softshrink leaky_relu gelu softplus nan_to_num alias
        hardtanh relu6
        """.split()
    },
    **{
        name: unary(name, domain=(0.2, 0.9))
        for name in """
        log log2 log10 log1p sqrt rsqrt reciprocal acos asin atanh erfinv special_ndtri lgamma digamma logit
        special_entr angle
        """.split()
    },
    "acosh": unary("acosh", (1.2, 2.0)),
    "_neg_view": [E(lambda x: torch.complex(x, 2 * x).conj().imag.clone(), M)],
    "gelu": unary("gelu") + [E(lambda x: F.gelu(x, approximate="tanh"), M)],
    "softplus": [E(lambda x: F.softplus(x, 2.0, 1.0), M)],
    "polygamma": [E(lambda x: torch.polygamma(2, x), M, domain=(0.5, 2))],
    "mvlgamma": [E(lambda x: aten.mvlgamma(x, 2), M, domain=(2, 3))],
    **{name: binary(name) for name in "maximum minimum fmax fmin atan2 hypot logaddexp logaddexp2 copysign".split()},
    **{name: binary(name, (0.3, 2)) for name in "xlogy special_xlog1py remainder fmod".split()},
    "clamp": [E(lambda x: x.clamp(-0.5, 0.5), M), E(lambda x, y: x.clamp(min=y), M, M)],
    "clamp_min": [E(lambda x: aten.clamp_min(x, 0.1), M)],
    "clamp_max": [E(lambda x: aten.clamp_max(x, 0.1), M)],
    "threshold": [E(lambda x: F.threshold(x, 0.1, -2.0), M)],
    "_prelu_kernel": [E(F.prelu, M, (1,))],
    "glu": [E(F.glu, (2, 4))],
    "polar": [E(lambda r, a: torch.polar(r, a), M, M, domain=(0.3, 2))],
    "sigmoid_backward": binary("sigmoid_backward"),
    "tanh_backward": binary("tanh_backward"),
    "threshold_backward": [E(lambda g, x: aten.threshold_backward(g, x, 0.0), M, M)],
    **{
        f"{name}_backward": [E(lambda g, x, name=name, rest=rest: getattr(aten, f"{name}_backward")(g, x, *rest), M, M)]
        for name, rest in {
            "gelu": (),
            "softplus": (2.0, 1.0),
            "hardtanh": (-0.5, 0.5),
            "hardswish": (),
            "leaky_relu": (0.1, False),
            "hardshrink": (0.5,),
            "softshrink": (0.5,),
        }.items()
    },
    "glu_backward": [E(lambda g, x: aten.glu_backward(g, x, 1), (2, 2), (2, 4))],
    "elu_backward": [
        E(lambda g, x: aten.elu_backward(g, 1.5, 2.0, 0.5, False, x), M, M),
        E(lambda g, x: aten.elu_backward(g, 1.5, 2.0, 0.5, True, F.elu(x)), M, M),
    ],
    "log_sigmoid_backward": [E(lambda g, x: inner_gradient(lambda z: F.logsigmoid(z).sum(), x) * g, M, M)],
    "mse_loss_backward": [E(lambda g, x, y: aten.mse_loss_backward(g, x, y, 1), (), M, M)],
    "smooth_l1_loss_backward": [E(lambda g, x: aten.smooth_l1_loss_backward(g, x, TARGET, 2, 0.6), (), M)],
    "huber_loss_backward": [E(lambda g, x: aten.huber_loss_backward(g, x, TARGET, 0, 0.6), M, M)],
    "binary_cross_entropy_backward": [
        E(lambda g, x: aten.binary_cross_entropy_backward(g, x.sigmoid(), TARGET, None, 1), (), M)
    ],
    "nll_loss_backward": [E(lambda g, x: inner_gradient(lambda z: F.nll_loss(z, torch.tensor([1, 2])), x) * g, M, M)],
    "convolution_backward": [
        E(lambda x, w: inner_gradient(lambda z: F.conv1d(z, w, padding=1).pow(2).sum(), x), (1, 2, 5), (3, 2, 3))
    ],
    "linalg_pinv": [E(torch.linalg.pinv, (3, 2))],
    "mse_loss": [E(lambda x, y, r=r: F.mse_loss(x, y, reduction=r), M, M) for r in ("none", "mean", "sum")],
    "smooth_l1_loss": [E(lambda x, y: F.smooth_l1_loss(x, y, beta=0.6), M, M)],
    "huber_loss": [E(lambda x, y: F.huber_loss(x, y, delta=0.6), M, M)],
    "binary_cross_entropy": [E(lambda x: F.binary_cross_entropy(x.sigmoid(), TARGET), M)],
    "binary_cross_entropy_with_logits": [
        E(lambda x: F.binary_cross_entropy_with_logits(x, TARGET, pos_weight=TARGET[0] + 1), M)
    ],
    "nll_loss_forward": [
        E(lambda x: F.cross_entropy(x, torch.tensor([1, 2])), M),
        E(lambda x: F.nll_loss(x, torch.tensor([1, -100]), TARGET[0], reduction="sum"), M),
    ],
    "nll_loss2d_forward": [E(lambda x: F.nll_loss(x, torch.tensor([[[1], [2]]])), (1, 3, 2, 1))],
    **{
        name: truth(getattr(torch, name))
        for name in "isnan isinf isfinite isposinf isneginf signbit logical_not".split()
    },
    **{
        name: truth(lambda x, y, name=name: getattr(torch, name)(x, y), M, M)
        for name in "eq ne lt le gt ge logical_and logical_or logical_xor".split()
    },
    "bitwise_not": truth(lambda x: ~(x > 0)),
    "bitwise_and": truth(lambda x: (x > 0) & MASK),
    "bitwise_or": truth(lambda x: (x > 0) | MASK),
    "bitwise_xor": truth(lambda x: (x > 0) ^ MASK),
    "__lshift__": truth(lambda x: (x > 0).long() << NUMBERS),
    "__rshift__": truth(lambda x: ((x > 0).long() * 64) >> NUMBERS),
    "bitwise_left_shift": truth(lambda x: torch.bitwise_left_shift((x > 0).long(), NUMBERS)),
    "bitwise_right_shift": truth(lambda x: torch.bitwise_right_shift((x > 0).long() * 64, NUMBERS)),
    # Of a matrix that is no triangle PyTorch's own derivative is not that of its value.
    "cholesky_inverse": [E(lambda x: torch.cholesky_inverse(spread(x).tril()), (3, 3))],
    "cholesky_solve": [
        E(lambda b, a, u=u: torch.cholesky_solve(b, triangle(a, u), upper=u), (3, 2), (3, 3)) for u in (False, True)
    ],
    "any": truth(lambda x: (x > 0).any(1)[:, None]),
    "all": truth(lambda x: (x > 0).all(0)),
    "dist": [E(lambda x, y: torch.dist(x, y, 3), M, M)],
    "_trilinear": [E(lambda x, y, w: F.bilinear(x, y, w), (5, 2), (5, 3), (4, 2, 3))],
    "avg_pool1d": [E(lambda x: aten.avg_pool1d(x, [2]), (1, 2, 5))],
    "avg_pool2d": [
        E(lambda x: F.avg_pool2d(x, 2, 2, 1, count_include_pad=False), (1, 2, 5, 6)),
        E(lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True), (1, 2, 6, 6)),
        E(lambda x: F.avg_pool2d(x, 2, divisor_override=3), (2, 5, 6)),
    ],
    "_fused_rms_norm": [
        E(lambda x, w: F.rms_norm(x, (3,), w), M, (3,)),
        E(lambda x: aten._fused_rms_norm(x, [3], None, 1e-5)[0], M),
    ],
    "embedding": [E(lambda w: F.embedding(torch.tensor([1, 0, 1]), w, padding_idx=1), (3, 2))],
    "scatter_reduce": [
        E(lambda x, v, r=r, i=i: x.scatter_reduce(1, torch.tensor([[0, 2], [1, 1]]), v, r, include_self=i), M, (2, 2))
        for r in ("sum", "mean", "amax", "amin")
        for i in (True, False)
    ],
    "linalg_vector_norm": [
        E(lambda x, p=p: torch.linalg.vector_norm(x, p), M) for p in (0, 1, 2, np.inf, -np.inf, 2.5)
    ],
    "_fft_c2c": [
        E(lambda x, n=n: torch.fft.ifft2(torch.complex(x[0], x[1]), norm=n), (2, 3, 4)) for n in ("ortho", "forward")
    ],
}
INSTEAD = ("cholesky_inverse", "cholesky_solve")
ALL = {
    name: [*(() if name in INSTEAD else EXAMPLES.get(name, ())), *MORE.get(name, ())]
    for name in sorted({*EXAMPLES, *MORE})
}
# PyTorch takes 1/6 in single precision there.
LESS = {"hardsigmoid": 1e-7}


def test_every_row_has_an_example():
    assert sorted(TABLE) == sorted(set(ALL) - set(WITHOUT))


@pytest.mark.filterwarnings("ignore:.*deprecated:UserWarning")
@pytest.mark.parametrize("name", sorted(set(ALL) - set(WITHOUT)))
def test_row(name, monkeypatch):
    """All examples of a row in one program, which is all that has to be compiled."""
    monkeypatch.setattr(_Translation, "_compare", lambda *_: None)  # here it is done
    studied = [Studied(example) for example in ALL[name]]
    given = [s.arrays for s in studied]
    run = jax.jit(lambda given: [s.by_jax(arrays) for s, arrays in zip(studied, given, strict=True)])
    results = run.lower(given).compile({"xla_backend_optimization_level": 0})(given)
    tolerance = dict(rtol=LESS.get(name, 1e-9), atol=1e-10)
    for one, (values, gradients) in zip(studied, results, strict=True):
        for ours, theirs in zip(values, one.values, strict=True):
            np.testing.assert_allclose(ours, theirs.numpy(force=True), **tolerance)
        for ours, theirs in zip(gradients, one.gradients, strict=True):
            np.testing.assert_allclose(ours, theirs.numpy(force=True), **tolerance)


class Studied:
    """An example at a point: by PyTorch, and by the translation."""

    def __init__(self, example):
        self.args = example.point(0)
        self.moving = [k for k, a in enumerate(self.args) if a.dtype.is_floating_point]
        function = lambda *xs: parts(example.function(*xs))  # noqa: E731
        self.g, self.arrays = in_jax(function, self.args)
        leaves = [a.detach().clone().requires_grad_(k in self.moving) for k, a in enumerate(self.args)]
        self.values = function(*(a.clone() for a in leaves))
        rng = np.random.default_rng(0)
        self.cotangents = [rng.standard_normal(t.shape) for t in self.values]
        live = [
            (t, torch.from_numpy(u).to(t)) for t, u in zip(self.values, self.cotangents, strict=True) if t.requires_grad
        ]
        at = [leaves[k] for k in self.moving]
        found = None
        if live:
            outs, us = zip(*live, strict=True)
            found = torch.autograd.grad(outs, at, us, allow_unused=True)
        self.gradients = [
            torch.zeros_like(x) if g is None else g for x, g in zip(at, found or [None] * len(at), strict=True)
        ]

    def by_jax(self, arrays):
        """(values, gradients)."""

        def of_moving(*xs):
            given = list(arrays)
            for k, x in zip(self.moving, xs, strict=True):
                given[k] = x
            return self.g(*given)

        values, pull = jax.vjp(of_moving, *(arrays[k] for k in self.moving))
        return values, pull([u.astype(y.dtype) for u, y in zip(self.cotangents, values, strict=True)])
