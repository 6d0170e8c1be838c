"""The errors that jacmap raises on purpose; all derive from `JacmapError`."""

from __future__ import annotations


class JacmapError(Exception):
    """Base class: catching it catches every deliberate error of jacmap."""


class ArgumentError(JacmapError, ValueError):
    """An argument is not what the call needs: the message names it, what came, what was expected, what to do."""


class TraceError(JacmapError, TypeError):
    """The function cannot be read: its Python code depends on the values of its inputs, or has side effects."""


class ModeError(JacmapError, TypeError):
    """The question needs an AD mode that an operation in the function does not support."""


class StructureError(JacmapError, ArithmeticError):
    """A plan's answer disagrees with plain AD. Never ignored: the plan is thrown away and no result returned."""


class NotFiniteWarning(RuntimeWarning):
    """The point or the Jacobian holds NaN or infinity; the message says where."""


class PlanFileError(JacmapError, ValueError):
    """A saved plan does not belong to this function, or the file is damaged; the message says why."""


class SingularError(JacmapError, ArithmeticError):
    """The Jacobian cannot be inverted at this point, by its structure or by its numbers; the message says why."""


class ConvergenceError(JacmapError, ArithmeticError):
    """An iterative method did not reach its tolerance; the message says how far it came and what to do."""


class IllConditionedWarning(RuntimeWarning):
    """A solution has lost half of its digits or more; the message gives the estimated condition number."""


class NotSmoothWarning(RuntimeWarning):
    """A black box is noisy, kinked or discontinuous at the point, so that its differences tell little; says where."""


class BlackBoxWarning(RuntimeWarning):
    """A function of NumPy arrays was taken as a black box, to be differentiated by differences; says why."""


class InaccurateGradientWarning(RuntimeWarning):
    """The derivative of a solution may be off by more than a small share; the message gives the bound and its cause."""


class RegionError(JacmapError, ArithmeticError):
    """An integral over a mapped region does not exist or would count points twice; the message names the place."""
