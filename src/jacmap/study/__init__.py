"""What a Jacobian means: which inputs move which outputs."""

from .sensitivity import DataSensitivity, PointSensitivity, sensitivity

__all__ = ["DataSensitivity", "PointSensitivity", "sensitivity"]
