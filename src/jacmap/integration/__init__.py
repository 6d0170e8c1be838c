"""Integrals over mapped regions: the change of variables with |det J| found from the map."""

from .front import integrate
from .integral import Integral
from .regions import Ball, Box, Mapped, Region, Simplex, Spherical

__all__ = ["Ball", "Box", "Integral", "Mapped", "Region", "Simplex", "Spherical", "integrate"]
