"""Functions of PyTorch tensors as JAX functions, for the studies: those compute in JAX."""

from .function import arrays_in, in_jax, tensors_in

__all__ = ["arrays_in", "in_jax", "tensors_in"]
