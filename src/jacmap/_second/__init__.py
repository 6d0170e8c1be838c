"""Second order: Hessians, Laplacians, products with them, Taylor models."""

from .hessian import hessian
from .laplacian import laplacian
from .products import GaussNewton, gauss_newton, hvp
from .taylor import Remainder, Taylor, taylor

__all__ = ["GaussNewton", "Remainder", "Taylor", "gauss_newton", "hessian", "hvp", "laplacian", "taylor"]
