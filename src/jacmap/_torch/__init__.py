"""Functions of PyTorch tensors: the public face on the torch backend. Loaded when the first tensor comes."""

from .jacobian import TorchJacobian
from .routes import jvp, linearize, transform, vjp
from .transforms import TorchTransform

__all__ = ["TorchJacobian", "TorchTransform", "jvp", "linearize", "transform", "vjp"]
