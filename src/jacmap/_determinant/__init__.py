"""Log-determinants: the public transforms `slogdet` and `value_and_slogdet`."""

from .transforms import SlogDet, slogdet, value_and_slogdet

__all__ = ["SlogDet", "slogdet", "value_and_slogdet"]
