"""What must hold of a URDF before anything is computed from it; each fault is refused with its line."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ._xml import Element

MOVING = ("revolute", "continuous", "prismatic")
KINDS = (*MOVING, "fixed")
# What Python's float() reads beyond this (1_000, digits of other scripts, nan) is no number of XML Schema's.
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
INFINITE = re.compile(r"[+-]?inf(inity)?", re.ASCII | re.IGNORECASE)
# Below this an axis is taken for a zero that was written badly; a longer one is scaled to one.
SHORTEST_AXIS = 1e-6
# Beyond it sums of lengths lose all digits of what a robot has, and squares overflow.
LARGEST = 1e12


@dataclass(frozen=True, eq=False)
class Checked:
    """The parts of a sound file that kinematics reads: links by name, joints by name, in the order of the file."""

    links: Mapping[str, Element]
    joints: Mapping[str, Element]


def checked(root: Element) -> Checked:
    """Raises `ArgumentError`, with the line, at the first fault."""
    if root.tag != "robot":
        raise root.error("is the outermost element, expected <robot>: this is not a URDF")
    _no_macros(root)
    links, joints = _by_name(root.all("link")), _by_name(root.all("joint"))
    if not links:
        raise root.error("has no <link>, expected one at least")
    parents: dict[str, Element] = {}
    for joint in joints.values():
        _sound_joint(joint, links, parents)
    _one_tree(root, links, joints, parents)
    _sound_mimics(joints)
    return Checked(links, joints)


def _no_macros(root: Element) -> None:
    for child in root.children:
        if child.tag.startswith("xacro:"):
            raise child.error("is a macro of xacro, expected a URDF; expand it first: xacro robot.xacro > robot.urdf")


def _by_name(elements: Iterable[Element]) -> dict[str, Element]:
    found: dict[str, Element] = {}
    for element in elements:
        first = found.setdefault(element.name(), element)
        if first is not element:
            raise element.error(f"comes twice, first on line {first.line}; rename one")
    return found


def _sound_joint(joint: Element, links: Mapping[str, Element], parents: dict[str, Element]) -> None:
    """One joint by itself; notes in `parents` which joint holds its child."""
    kind = joint.name("type")
    if kind not in KINDS:
        hint = "; fix the base, and state its pose yourself" if kind in ("floating", "planar") else ""
        raise joint.error(f'is of type "{kind}", expected one of {", ".join(KINDS)}{hint}')
    ends = []
    for tag in ("parent", "child"):
        end = joint.one(tag, needed=True)
        assert end is not None
        name = end.name("link")
        if name not in links:
            raise end.error(f'of joint "{joint.name()}" names the link "{name}", which is not in the file')
        ends.append(name)
    if ends[0] == ends[1]:
        raise joint.error(f'joins the link "{ends[0]}" to itself: a cycle')
    other = parents.setdefault(ends[1], joint)
    if other is not joint:
        raise joint.error(
            f'holds the link "{ends[1]}", which "{other.name()}" on line {other.line} holds too; a link has one parent'
        )
    origin = joint.one("origin")
    if origin is not None:
        _vector(origin, "xyz")
        _vector(origin, "rpy")
    if kind in MOVING:
        _sound_axis(joint)
        _sound_limit(joint, kind)


def _sound_axis(joint: Element) -> None:
    axis = joint.one("axis")
    numbers = _vector(axis, "xyz") if axis is not None else None
    if axis is not None and numbers is not None and math.hypot(*numbers) < SHORTEST_AXIS:
        raise axis.error(f'of joint "{joint.name()}" is {tuple(numbers)}, expected a direction: not zero')


def _sound_limit(joint: Element, kind: str) -> None:
    limit = joint.one("limit")
    if limit is None:
        if kind == "continuous":
            return
        instead = ', or make it type="continuous"' if kind == "revolute" else ""
        raise joint.error(f'is {kind} and has no <limit>; add <limit lower="..." upper="..." .../>{instead}')
    for attribute in ("effort", "velocity"):
        if _number(limit, attribute, math.inf, infinite=True) < 0:
            raise limit.error(f'of joint "{joint.name()}" has a negative {attribute}, expected a size')
    lower, upper = (_number(limit, attribute, 0.0, infinite=True) for attribute in ("lower", "upper"))
    if lower > upper:
        raise limit.error(f'of joint "{joint.name()}" has lower {lower:g} above upper {upper:g}')
    if kind != "continuous" and (lower == math.inf or upper == -math.inf):
        raise limit.error(f'of joint "{joint.name()}" leaves no position: lower {lower:g}, upper {upper:g}')


def _one_tree(
    root: Element, links: Mapping[str, Element], joints: Mapping[str, Element], parents: Mapping[str, Element]
) -> None:
    """One link without a parent, from which all others are reached; every link has one parent at most."""
    above = {child: parent_link(joint) for child, joint in parents.items()}
    cycle = first_cycle(above)
    if cycle:
        named = " → ".join(cycle[::-1])
        raise parents[cycle[0]].error(f"closes a cycle of links, {named}; only trees can be read")
    bases = [name for name in links if name not in parents]
    if len(bases) > 1:
        raise links[bases[1]].error(
            f'has no parent, and neither has "{bases[0]}" on line {links[bases[0]].line}: the file holds '
            f"{len(bases)} robots; join them by fixed joints or split the file"
        )


def _sound_mimics(joints: Mapping[str, Element]) -> None:
    leaders: dict[str, str] = {}
    for name, joint in joints.items():
        mimic = joint.one("mimic") if joint.attributes["type"].strip() in MOVING else None
        if mimic is None:
            continue
        leader = mimic.name("joint")
        if leader not in joints:
            raise mimic.error(f'of joint "{name}" names the joint "{leader}", which is not in the file')
        if joints[leader].attributes["type"].strip() not in MOVING:
            raise mimic.error(f'of joint "{name}" follows "{leader}", which is fixed')
        _number(mimic, "multiplier", 1.0)
        _number(mimic, "offset", 0.0)
        leaders[name] = leader
    cycle = first_cycle(leaders)
    if cycle:
        raise joints[cycle[0]].error(f"mimics itself: {' → '.join(cycle)}; let one of them move by itself")


def parent_link(joint: Element) -> str:
    parent = joint.one("parent", needed=True)
    assert parent is not None
    return parent.name("link")


def first_cycle(above: Mapping[str, str]) -> list[str]:
    """The first cycle of a map from names to names, its first name repeated at the end; empty where there is none."""
    done: set[str] = set()
    for start in above:
        path: dict[str, None] = {}
        name = start
        while name in above and name not in done and name not in path:
            path[name] = None
            name = above[name]
        if name in path:
            names = list(path)
            return [*names[names.index(name) :], name]
        done.update(path)
    return []


def _vector(element: Element, attribute: str) -> list[float] | None:
    text = element.attributes.get(attribute)
    if text is None:
        return None
    words = text.split()
    if len(words) != 3:
        raise element.error(f'has {attribute}="{_short(text)}", expected three numbers')
    return [_value(element, attribute, word, infinite=False) for word in words]


def _number(element: Element, attribute: str, default: float, *, infinite: bool = False) -> float:
    text = element.attributes.get(attribute)
    return default if text is None else _value(element, attribute, text.strip(), infinite)


def _value(element: Element, attribute: str, text: str, infinite: bool) -> float:
    if infinite and INFINITE.fullmatch(text):
        return float(text)
    if not NUMBER.fullmatch(text):
        raise element.error(f'has "{_short(text)}" in {attribute}, expected a decimal number')
    value = float(text)
    # Limits are only compared, so any size will do; what is added up or multiplied must keep its digits.
    if not infinite and not abs(value) <= LARGEST:
        raise element.error(f'has "{_short(text)}" in {attribute}, expected a number of size {LARGEST:g} at most')
    return value


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "..."
