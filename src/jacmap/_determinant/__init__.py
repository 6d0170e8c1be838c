"""Log-determinants: the public transforms `slogdet` and `value_and_slogdet`."""

from .estimate import Estimate
from .transforms import SlogDet, slogdet, value_and_slogdet

__all__ = ["Estimate", "SlogDet", "slogdet", "value_and_slogdet"]
