"""A stretch of the graph as one Python function: a call costs what its operations cost.

Walking the nodes would look up every argument anew in every call, which takes longer than a small operation does. The
text is written here and not by `torch.fx`, which can only call operations through a layer of Python.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from typing import Any

from . import compat
from .call import Operation, Ref

Step = tuple[Operation, Sequence[Hashable], Sequence[Hashable]]  # (operation, names of inputs, names of outputs)


class Program:
    """A function of the values `given` (by position) that returns the list of the values `wanted`.

    Steps that none of those needs are left out, and so are values that nobody reads; values are freed after their last
    use. `wanted` may name given values.
    """

    def __init__(self, steps: Sequence[Step], given: Collection[Hashable], wanted: Sequence[Hashable]):
        kept = needed(steps, given, wanted)
        read = {*wanted, *(name for _, inputs, _ in kept for name in inputs)}
        self.given: tuple[Any, ...] = tuple(name for name in given if name in read)
        self.wanted: tuple[Any, ...] = tuple(wanted)
        writer = _Writer()
        for name in self.given:
            writer.local(name)
        last = {name: k for k, (_, inputs, _) in enumerate(kept) for name in inputs}
        lines = []
        for k, (operation, inputs, outputs) in enumerate(kept):
            lines += writer.step(operation, inputs, outputs)
            dead = [name for name in (*inputs, *outputs) if last.get(name, k) == k and name not in self.wanted]
            if dead:
                lines.append(f"del {', '.join(dict.fromkeys(writer.local(name) for name in dead))}")
        arguments = ", ".join(writer.local(name) for name in self.given)
        results = ", ".join(writer.local(name) for name in self.wanted)
        text = "\n    ".join([f"def run({arguments}):", *lines, f"return [{results}]"])
        exec(compile(text, "<jacmap program>", "exec"), writer.namespace)  # noqa: S102  (our own text, names alone)
        self.run: Callable[..., list[Any]] = writer.namespace["run"]

    def __call__(self, env: Mapping[Any, Any]) -> list[Any]:
        """The wanted values, from a table of the given ones."""
        return self.run(*(env[name] for name in self.given))


def needed(steps: Sequence[Step], given: Collection[Hashable], wanted: Sequence[Hashable]) -> list[Step]:
    """The steps without which what is wanted could not be worked out from what is given."""
    given = set(given)
    needed, kept = set(wanted) - given, []
    for step in reversed(steps):
        if needed.intersection(step[2]):
            kept.append(step)
            needed.update(name for name in step[1] if name not in given)
    return kept[::-1]


class _Writer:
    """Python text, and the objects that its names stand for."""

    def __init__(self) -> None:
        self.namespace: dict[str, Any] = {}
        self.locals: dict[Hashable, str] = {}

    def local(self, name: Hashable) -> str:
        return self.locals.setdefault(name, f"v{len(self.locals)}")

    def constant(self, value: Any) -> str:
        name = f"c{len(self.namespace)}"
        self.namespace[name] = value
        return name

    def step(self, operation: Operation, inputs: Sequence[Hashable], outputs: Sequence[Hashable]) -> list[str]:
        """The lines that run an operation and name what it gives."""
        values = [self.local(name) for name in inputs]
        made = [self.local(name) for name in outputs]
        returns = _returns(operation)
        if returns == "unknown":
            call = f"{self.constant(operation)}([{', '.join(values)}])"
        else:
            arguments = [self.expression(value, values) for value in operation.args]
            arguments += [f"{key}={self.expression(value, values)}" for key, value in operation.kwargs.items()]
            call = f"{self.constant(compat.unwrapped(operation.function))}({', '.join(arguments)})"
        if returns == "one":
            return [f"{made[0]} = {call}"]
        return [f"every = {call}", *(f"{name} = every[{k}]" for k, name in enumerate(made))]

    def expression(self, tree: Any, values: Sequence[str]) -> str:
        """The text of an argument."""
        if isinstance(tree, Ref):
            return values[tree.index]
        if isinstance(tree, (list, tuple)):
            return f"[{', '.join(self.expression(part, values) for part in tree)}]"
        return repr(tree) if tree is None or type(tree) in (bool, int) else self.constant(tree)


def _returns(operation: Operation) -> str:
    """ "one" tensor, "several" in a list, or "unknown": then the operation itself sorts out what it gives."""
    if operation.name == "tangent":  # written by the face: a function of PyTorch that gives one
        return "one"
    schema = getattr(operation.function, "_schema", None)
    if operation.dtype is not None or schema is None:
        return "unknown"
    kinds = [str(each.type) for each in schema.returns]
    if kinds == ["Tensor"]:
        return "one"
    return "several" if kinds == ["List[Tensor]"] or set(kinds) == {"Tensor"} else "unknown"
