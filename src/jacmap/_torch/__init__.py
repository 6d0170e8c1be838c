"""Functions of PyTorch tensors: the public face on the torch backend. Loaded when the first tensor comes."""

from .jacobian import TorchJacobian
from .routes import jvp, linearize, transform, vjp
from .studies import studied
from .to_jax import arrays_in, in_jax
from .transforms import TorchTransform

__all__ = [
    "TorchJacobian",
    "TorchTransform",
    "arrays_in",
    "in_jax",
    "jvp",
    "linearize",
    "studied",
    "transform",
    "vjp",
]
