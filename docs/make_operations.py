"""Writes docs/operations.md from the rule tables: `python docs/make_operations.py`."""

from pathlib import Path
from typing import Any

from jacmap.engine.backends.jax.rules import RULES
from jacmap.engine.backends.torch.rules import RULES as TORCH_RULES

PAGE = Path(__file__).with_name("operations.md")

HEAD = """\
# Operations

Every JAX primitive and every ATen operation of PyTorch that jacmap knows, with the kind of its dependence. This page is
generated from the rule tables by `python docs/make_operations.py`; a test checks that it is up to date.

- **exact**: the pattern holds an entry exactly where the derivative is not zero by structure. Two things are never
  told apart: the parts of one complex number, and outcomes that depend on the point (which branch, which order).
- **over-estimate**: every entry that can be nonzero is there, and some that cannot may be, too.
- **none**: no derivative passes.

What is not listed is taken to let every output read every input: sound, often far too much, and `explain` says so.
(Of PyTorch's operations those tagged as pointwise are taken entry by entry.) To add one, see the files of
`engine/backends/jax/rules/` and `engine/backends/torch/rules/`.

## JAX

`jit`, `checkpoint` and closed calls are read through, and so are mutable arrays (`jax.new_ref`) made inside the
function.

| primitive | kind of dependence | pattern |
|---|---|---|
"""


TORCH = """
## PyTorch

In-place and `out=` forms are read as the operation and a write; views as movements of the memory's entries.

| operation | kind of dependence | pattern |
|---|---|---|
"""


def page() -> str:
    return HEAD + _rows(RULES) + TORCH + _rows(TORCH_RULES)


def _rows(rules: dict[str, Any]) -> str:
    rows = []
    for name, rule in sorted(rules.items()):
        pattern = "none" if rule.kind == "none" else "exact" if rule.exact else "over-estimate"
        rows.append(f"| `{name}` | {rule.kind} | {pattern} |\n")
    return "".join(rows)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
