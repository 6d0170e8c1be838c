"""Interval arithmetic on a function's jaxpr: bounds of its values and of its Jacobian over a box or a ball."""

from .enclose import Enclosure, Region, enclose

__all__ = ["Enclosure", "Region", "enclose"]
