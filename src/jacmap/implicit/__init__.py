"""Implicit layers (extra ``jacmap[implicit]``): derivatives through fixed points, roots and minima, with a bound of
their error."""

try:
    import lineax  # noqa: F401
    import optimistix  # noqa: F401
except ModuleNotFoundError as error:
    raise ImportError("jacmap.implicit needs optimistix and lineax: pip install 'jacmap[implicit]'") from error

from .layers import argmin, fixed_point, root
from .solution import Solution

__all__ = ["Solution", "argmin", "fixed_point", "root"]
