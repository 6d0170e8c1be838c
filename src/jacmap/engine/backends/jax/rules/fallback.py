"""What is not in the table: every output may read every input, and `explain` says so."""

from __future__ import annotations

from ...rule import Rule, every_pair, neither_mode

UNKNOWN = Rule(
    "unknown",
    every_pair,
    exact=False,
    note="no rule for this operation, every output taken to read every input",
)

# Host callbacks: nothing can be said about them, and JAX differentiates them in neither mode.
OPAQUE = {
    name: Rule("unknown", every_pair, exact=False, modes=neither_mode, note="a callback to the host has no derivative")
    for name in ("pure_callback", "io_callback")
}
