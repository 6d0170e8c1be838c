"""Alignment: Lucas-Kanade and the correlation coefficient, by one compiled loop per level of a pyramid."""

from .align import Alignment, align

__all__ = ["Alignment", "align"]
