"""The linear algebra of a Jacobian: systems, least squares, singular values, norms, rank, condition.

Each question is planned from J's structure (`ways`), and the plan that is printed is what is done (`linear`).
"""

from .form import Form
from .inverse import Inverse
from .linear import QUESTIONS, Linear
from .plan import LinearPlan
from .report import LocalInvertibility, is_affine
from .subject import Subject

__all__ = ["QUESTIONS", "Form", "Inverse", "Linear", "LinearPlan", "LocalInvertibility", "Subject", "is_affine"]
