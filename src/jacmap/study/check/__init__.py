"""A Jacobian written by hand, checked entry by entry."""

from .front import check
from .report import Check

__all__ = ["Check", "check"]
