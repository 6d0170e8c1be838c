"""Graphs, patterns and what they say, without any framework."""

from .graph import Graph, Node, Place, Value
from .pattern import Pattern
from .propagate import forward, jacobian_pattern

__all__ = ["Graph", "Node", "Pattern", "Place", "Value", "forward", "jacobian_pattern"]
