"""Functions of PyTorch tensors: the public face on the torch backend. Loaded when the first tensor comes."""

from .jacobian import TorchJacobian
from .routes import linearize, transform
from .transforms import TorchTransform

__all__ = ["TorchJacobian", "TorchTransform", "linearize", "transform"]
