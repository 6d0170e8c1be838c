"""Entry by entry: the common functions of one, two and three numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy import special

from .row import Given, Row, jax_dtype


def _of_self(function: Callable[[Any], Any]) -> Row:
    return lambda p: function(p.self)


def _of_two(function: Callable[[Any, Any], Any]) -> Row:
    return lambda p: function(p.self, p.other)


def _stopped(function: Callable[[Any], Any]) -> Row:
    return lambda p: function(lax.stop_gradient(p.self))


def _scaled(x: Any, factor: Any) -> Any:
    return x if isinstance(factor, (int, float)) and factor == 1 else factor * x


def _quotient(p: Given) -> Any:
    if p.get("rounding_mode") == "floor":
        return lax.stop_gradient(jnp.floor_divide(p.self, p.other))
    found = jnp.true_divide(p.self, p.other)
    return lax.stop_gradient(jnp.trunc(found)) if p.get("rounding_mode") else found


def _power(p: Given) -> Any:
    base, exponent = p.self, p.exponent
    if isinstance(exponent, float) and exponent.is_integer():
        exponent = int(exponent)  # lax.integer_pow: right at 0 and below, in all derivatives
    return jnp.sqrt(base) if isinstance(exponent, float) and exponent == 0.5 else jnp.power(base, exponent)


def _clamp(p: Given) -> Any:
    """At the very bound PyTorch passes the gradient on, where `jnp.clip` would halve it."""
    x = p.self
    if p.get("min") is not None:
        x = jnp.where(x < p.min, p.min, x)
    if p.get("max") is not None:
        x = jnp.where(x > p.max, p.max, x)
    return x


def _remainder(p: Given) -> Any:
    """The quotient's floor passes no gradient: d/dy (x mod y) = −⌊x / y⌋."""
    return p.self - lax.stop_gradient(jnp.floor_divide(p.self, p.other)) * p.other


def _fmod(p: Given) -> Any:
    return p.self - lax.stop_gradient(jnp.trunc(jnp.true_divide(p.self, p.other))) * p.other


def _round(p: Given) -> Any:
    return lax.stop_gradient(jnp.round(p.self, p.get("decimals") or 0))


def _lerp(p: Given) -> Any:
    return p.self + p.weight * (p.end - p.self)


def _gelu(p: Given) -> Any:
    return jax.nn.gelu(p.self, approximate=p.approximate == "tanh")


def _softplus(p: Given) -> Any:
    scaled = p.self * p.beta
    return jnp.where(scaled > p.threshold, p.self, jnp.logaddexp(jnp.minimum(scaled, p.threshold), 0.0) / p.beta)


def _elu(p: Given) -> Any:
    x = p.self
    below = p.alpha * jnp.expm1(jnp.where(x > 0, 0.0, x) * p.get("input_scale", 1))
    return jnp.where(x > 0, x, below) * p.get("scale", 1)


def _celu(p: Given) -> Any:
    return jnp.where(p.self > 0, p.self, p.alpha * jnp.expm1(jnp.where(p.self > 0, 0.0, p.self) / p.alpha))


def _between(low: float, high: float, p: Given) -> Any:
    """x inside (low, high), the bounds themselves outside, and no gradient there."""
    return jnp.where(p.self <= low, low, jnp.where(p.self >= high, high, p.self))


def _hardsigmoid(p: Given) -> Any:
    x = p.self
    return jnp.where(x <= -3, 0.0, jnp.where(x >= 3, 1.0, x / 6 + 0.5))


def _hardswish(p: Given) -> Any:
    x = p.self
    return jnp.where(x <= -3, 0.0, jnp.where(x >= 3, x, x * (x + 3) / 6))


def _softshrink(p: Given) -> Any:
    x, lambd = p.self, p.lambd
    return jnp.where(x > lambd, x - lambd, jnp.where(x < -lambd, x + lambd, 0.0))


def _logit(p: Given) -> Any:
    x = p.self
    if p.get("eps") is not None:
        x = jnp.where(x < p.eps, p.eps, jnp.where(x > 1 - p.eps, 1 - p.eps, x))
    return jnp.log(x / (1 - x))


def _xlogy(x: Any, y: Any) -> Any:
    return special.xlogy(x, y)


def _glu(p: Given) -> Any:
    first, second = jnp.split(p.self, 2, axis=p.dim)
    return first * jax.nn.sigmoid(second)


def _log_sigmoid(p: Given) -> Any:
    # What it returns beside is a buffer for its backward.
    return jax.nn.log_sigmoid(p.self), jnp.zeros(0, p.self.dtype)


def _hypot(x: Any, y: Any) -> Any:
    return jnp.sqrt(x * x + y * y)


def _cast(p: Given) -> Any:
    return p.self if p.get("dtype") is None else p.self.astype(jax_dtype(p.dtype))


def _nan_to_num(p: Given) -> Any:
    return jnp.nan_to_num(p.self, nan=p.get("nan") or 0.0, posinf=p.get("posinf"), neginf=p.get("neginf"))


def _reduced(loss: Callable[[Given], Any]) -> Row:
    """A loss entry by entry, then as its argument `reduction` says: 0 as it is, 1 the mean, 2 the sum."""

    def row(p: Given) -> Any:
        entries = loss(p)
        if p.get("weight") is not None:
            entries = entries * p.weight
        return (entries, jnp.mean(entries), jnp.sum(entries))[p.reduction]

    return row


def _smooth_l1(p: Given) -> Any:
    size = jnp.abs(p.self - p.target)
    return size if p.beta == 0 else jnp.where(size < p.beta, size**2 / (2 * p.beta), size - p.beta / 2)


def _huber(p: Given) -> Any:
    size = jnp.abs(p.self - p.target)
    return jnp.where(size <= p.delta, size**2 / 2, p.delta * (size - p.delta / 2))


def _cross_entropy(p: Given) -> Any:
    log = lambda x: jnp.maximum(jnp.log(x), -100.0)  # noqa: E731
    return -(p.target * log(p.self) + (1 - p.target) * log(1 - p.self))


def _cross_entropy_with_logits(p: Given) -> Any:
    positive = 1 if p.get("pos_weight") is None else p.pos_weight
    return -(positive * p.target * jax.nn.log_sigmoid(p.self) + (1 - p.target) * jax.nn.log_sigmoid(-p.self))


_ONE: dict[str, Callable[[Any], Any]] = {
    **{
        name: getattr(jnp, name)
        for name in """
        abs exp exp2 expm1 log log2 log10 log1p sqrt sin cos tan sinh cosh tanh sinc square reciprocal isnan isinf
        isposinf isneginf isfinite logical_not bitwise_not signbit angle
        """.split()
    },
    **{
        name: getattr(jnp, f"arc{name[1:]}")
        for name in "acos asin atan acosh asinh atanh".split()
    },
    **{name: getattr(special, name) for name in "erf erfc digamma i0".split()},
    **{f"special_{name}": getattr(special, name) for name in "i0e i1 i1e ndtri log_ndtr entr".split()},
    "special_ndtr": special.ndtr,
    "erfinv": special.erfinv,
    "special_erfcx": lambda x: jnp.exp(x * x) * special.erfc(x),
    "lgamma": special.gammaln,
    "neg": jnp.negative,
    "positive": jnp.positive,
    "rsqrt": lax.rsqrt,
    "sigmoid": jax.nn.sigmoid,
    "relu": jax.nn.relu,
    "silu": jax.nn.silu,
    "mish": lambda x: x * jnp.tanh(jnp.logaddexp(x, 0.0)),
    "frac": lambda x: x - lax.stop_gradient(jnp.trunc(x)),
    "deg2rad": jnp.deg2rad,
    "rad2deg": jnp.rad2deg,
    "clone": lambda x: x,
    "alias": lambda x: x,
    "_conj": jnp.conj,
    "_conj_physical": jnp.conj,
    "_neg_view": jnp.negative,
    "view_as_real": lambda x: jnp.stack([x.real, x.imag], -1),
    "view_as_complex": lambda x: lax.complex(x[..., 0], x[..., 1]),
}  # fmt: skip

_TWO: dict[str, Callable[[Any, Any], Any]] = {
    "mul": jnp.multiply,
    "maximum": jnp.maximum,
    "minimum": jnp.minimum,
    "fmax": jnp.fmax,
    "fmin": jnp.fmin,
    "atan2": jnp.arctan2,
    "hypot": _hypot,
    "logaddexp": jnp.logaddexp,
    "logaddexp2": jnp.logaddexp2,
    "xlogy": _xlogy,
    "special_xlog1py": special.xlog1py,
    "copysign": lambda x, y: jnp.abs(x) * lax.stop_gradient(jnp.copysign(1.0, y)),
    "floor_divide": lambda x, y: lax.stop_gradient(jnp.floor_divide(x, y)),
    **{
        torch_name: getattr(jnp, name)
        for torch_name, name in {
            "eq": "equal", "ne": "not_equal", "lt": "less", "le": "less_equal", "gt": "greater",
            "ge": "greater_equal", "logical_and": "logical_and", "logical_or": "logical_or",
            "logical_xor": "logical_xor", "bitwise_and": "bitwise_and", "bitwise_or": "bitwise_or",
            "bitwise_xor": "bitwise_xor", "bitwise_left_shift": "left_shift", "bitwise_right_shift": "right_shift",
            "__lshift__": "left_shift", "__rshift__": "right_shift",
        }.items()
    },
}  # fmt: skip

TABLE: dict[str, Row] = {
    **{name: _of_self(function) for name, function in _ONE.items()},
    **{name: _of_two(function) for name, function in _TWO.items()},
    **{name: _stopped(getattr(jnp, name)) for name in "sign floor ceil trunc".split()},
    "sgn": _of_self(lambda x: jnp.sign(x) if jnp.iscomplexobj(x) else lax.stop_gradient(jnp.sign(x))),
    "round": _round,
    "heaviside": lambda p: lax.stop_gradient(jnp.heaviside(p.self, p["values"])),
    "add": lambda p: p.self + _scaled(p.other, p.alpha),
    "sub": lambda p: p.self - _scaled(p.other, p.alpha),
    "rsub": lambda p: p.other - _scaled(p.self, p.alpha),
    "div": _quotient,
    "pow": _power,
    "remainder": _remainder,
    "fmod": _fmod,
    "where": lambda p: jnp.where(p.condition, p.self, p.other),
    "clamp": _clamp,
    "clamp_min": _clamp,
    "clamp_max": _clamp,
    "masked_fill": lambda p: jnp.where(p.mask, p.value, p.self),
    "addcmul": lambda p: p.self + _scaled(p.tensor1 * p.tensor2, p.value),
    "addcdiv": lambda p: p.self + _scaled(p.tensor1 / p.tensor2, p.value),
    "lerp": _lerp,
    "complex": lambda p: lax.complex(p.real, p.imag),
    "polar": lambda p: lax.complex(p.abs * jnp.cos(p.angle), p.abs * jnp.sin(p.angle)),
    "_to_copy": _cast,
    "nan_to_num": _nan_to_num,
    "polygamma": lambda p: special.polygamma(p.n, p.self),
    "mvlgamma": lambda p: special.multigammaln(p.self, p.p),
    "gelu": _gelu,
    "softplus": _softplus,
    "elu": _elu,
    "celu": _celu,
    "leaky_relu": lambda p: jnp.where(p.self > 0, p.self, p.negative_slope * p.self),
    "_prelu_kernel": lambda p: jnp.where(p.self > 0, p.self, p.weight * p.self),
    "hardtanh": lambda p: _between(p.min_val, p.max_val, p),
    "relu6": lambda p: _between(0.0, 6.0, p),
    "hardsigmoid": _hardsigmoid,
    "hardswish": _hardswish,
    "hardshrink": lambda p: jnp.where(jnp.abs(p.self) > p.lambd, p.self, 0.0),
    "softshrink": _softshrink,
    "threshold": lambda p: jnp.where(p.self > p.threshold, p.self, p.value),
    "logit": _logit,
    "glu": _glu,
    "log_sigmoid_forward": _log_sigmoid,
    "mse_loss": _reduced(lambda p: (p.self - p.target) ** 2),
    "smooth_l1_loss": _reduced(_smooth_l1),
    "huber_loss": _reduced(_huber),
    "soft_margin_loss": _reduced(lambda p: jnp.logaddexp(0.0, -p.target * p.self)),
    "binary_cross_entropy": _reduced(_cross_entropy),
    "binary_cross_entropy_with_logits": _reduced(_cross_entropy_with_logits),
}
