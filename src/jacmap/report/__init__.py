"""A report on a function at a point: one HTML file that needs nothing else. Needs the extra ``jacmap[report]``."""

from .build import html, save

__all__ = ["html", "save"]
