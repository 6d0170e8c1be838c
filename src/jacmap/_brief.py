"""Programs compiled for a few calls, for the rooms that do not see the engine."""

from __future__ import annotations

from .engine.backends.jax.brief import brief, calls_until_even

__all__ = ["brief", "calls_until_even"]
