"""A report on a function at a point: one HTML file that needs nothing else. Needs the extra ``jacmap[report]``."""

from .backprop import of as backprop_section
from .build import html, save

__all__ = ["backprop_section", "html", "save"]
