"""Backpropagation laid open: every value, local Jacobian and cotangent of a scalar function, step by step."""

from .front import backprop
from .result import Backprop, Read, StepDone, Value

__all__ = ["Backprop", "Read", "StepDone", "Value", "backprop"]
