"""Somebody else's flow, checked: its log-determinant, its inverse, and whether it can be inverted at all."""

from .front import check_flow
from .report import Finding, FlowCheck

__all__ = ["Finding", "FlowCheck", "check_flow"]
