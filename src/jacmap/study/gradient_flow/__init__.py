"""How changes travel forward and gradients back through a network, segment by segment."""

from .figures import Figure, Spectrum
from .flow import Diagnosis, Finding, GradientFlow, Row, Trial
from .front import gradient_flow
from .lens import Lens, lens
from .plan import FlowPlan

__all__ = [
    "Diagnosis",
    "Figure",
    "Finding",
    "FlowPlan",
    "GradientFlow",
    "Lens",
    "Row",
    "Spectrum",
    "Trial",
    "gradient_flow",
    "lens",
]
