"""A robot as kinematics needs it: a tree of joints, read from a URDF."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import yourdfpy

from .._errors import ArgumentError
from ._checks import MOVING, Checked, checked
from ._xml import Element, parse

# What yourdfpy is given of a joint; the rest (meshes, inertias, dynamics) no kinematics reads.
READ = ("parent", "child", "origin", "axis", "limit", "mimic")


@dataclass(frozen=True, eq=False)
class Joint:
    """A joint of the file. `rotation` (3, 3) and `translation` (3,) place its frame in the parent's, `axis` (3,) has
    length one. `number`: which entry of q moves it, by `multiplier`·q + `offset`; None where it is fixed."""

    name: str
    kind: str
    parent: str
    child: str
    rotation: np.ndarray
    translation: np.ndarray
    axis: np.ndarray
    number: int | None = None
    multiplier: float = 1.0
    offset: float = 0.0

    @property
    def turns(self) -> bool:
        return self.kind != "prismatic"


@dataclass(frozen=True, eq=False)
class Model:
    """`holding[link]`: the joint that holds it; only the base has none. `links` and `joints` as in the file."""

    name: str
    links: tuple[str, ...]
    joints: tuple[str, ...]  # those that move by themselves, in the order of q
    holding: dict[str, Joint]
    lower: np.ndarray
    upper: np.ndarray
    speed: np.ndarray
    effort: np.ndarray

    def path(self, link: str) -> list[Joint]:
        """The joints from the base to the link."""
        found = []
        while link in self.holding:
            found.append(self.holding[link])
            link = found[-1].parent
        return found[::-1]


def read(source: str | bytes | Path) -> Model:
    """From the text of a URDF or the path of a file. Raises `ArgumentError` with the line of what is wrong."""
    root = parse(_text(source))
    parts = checked(root)
    try:
        # Of its fields only those already checked are left, so nothing of the file can surprise it.
        robot = yourdfpy.URDF.load(io.BytesIO(_pruned(parts)), build_scene_graph=False, load_meshes=False).robot
    except Exception as error:  # it raises whatever NumPy and lxml do
        raise ArgumentError(f"URDF: yourdfpy cannot read it: {error}") from error
    numbers = {
        joint.name: number
        for number, joint in enumerate(j for j in robot.joints if j.type in MOVING and j.mimic is None)
    }
    by_name = {joint.name: joint for joint in robot.joints}
    moving = [by_name[name] for name in numbers]
    limits = [_limits(joint) for joint in moving]
    lower, upper, speed, effort = np.asarray(limits, float).reshape(-1, 4).T
    return Model(
        root.attributes.get("name", ""),
        tuple(parts.links),
        tuple(numbers),
        {joint.child: _joint(joint, by_name, numbers) for joint in robot.joints},
        lower,
        upper,
        speed,
        effort,
    )


def _text(source: str | bytes | Path) -> bytes:
    if isinstance(source, bytes):
        return source
    if isinstance(source, str) and "<" in source:
        # A declared encoding is that of the file the text came from, no longer of the text.
        return source.encode("utf-8", "surrogatepass") if "encoding=" not in source[:200] else _declared(source)
    if not isinstance(source, (str, Path)):
        raise ArgumentError(f"source: got {type(source).__name__}, expected the text of a URDF or the path of a file")
    path = Path(source)
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise ArgumentError(
            f'source: cannot read "{str(path)[:200]}" ({getattr(error, "strerror", None) or error}); expected the path '
            "of a URDF file, or its text, which begins with <"
        ) from error


def _declared(source: str) -> bytes:
    start, _, rest = source.partition("?>")
    return (start.split("encoding=")[0].rstrip() + "?>" + rest).encode("utf-8", "surrogatepass")


def _pruned(parts: Checked) -> bytes:
    root = ElementTree.Element("robot", name="robot")
    for name in parts.links:
        ElementTree.SubElement(root, "link", name=name)
    for name, joint in parts.joints.items():
        kind = joint.attributes["type"].strip()
        kept = ElementTree.SubElement(root, "joint", name=name, type=kind)
        for child in _kept(joint, kind):
            attributes = {key: value.strip() for key, value in child.attributes.items() if ":" not in key}
            ElementTree.SubElement(kept, child.tag, attributes)
    return ElementTree.tostring(root, encoding="utf-8")


def _kept(joint: Element, kind: str) -> list[Element]:
    skipped = () if kind in MOVING else ("axis", "limit", "mimic")
    return [child for child in joint.children if child.tag in READ and child.tag not in skipped]


def _limits(joint: yourdfpy.Joint) -> tuple[float, float, float, float]:
    """lower, upper, speed, effort; what is not stated is not limited, but a range that is not stated is 0 (the
    specification's default)."""
    limit = joint.limit or yourdfpy.Limit()
    speed, effort = (math.inf if x is None else x for x in (limit.velocity, limit.effort))
    if joint.type == "continuous":
        return -math.inf, math.inf, speed, effort
    return limit.lower or 0.0, limit.upper or 0.0, speed, effort


def _joint(joint: yourdfpy.Joint, by_name: dict[str, yourdfpy.Joint], numbers: dict[str, int]) -> Joint:
    origin = np.eye(4) if joint.origin is None else joint.origin
    axis, number, multiplier, offset = np.array([1.0, 0.0, 0.0]), None, 1.0, 0.0
    if joint.type in MOVING:
        axis = joint.axis / np.linalg.norm(joint.axis)
        leader = joint
        while leader.mimic is not None:  # q → multiplier·(what its leader does) + offset, up to one that moves itself
            offset += multiplier * leader.mimic.offset
            multiplier *= leader.mimic.multiplier
            leader = by_name[leader.mimic.joint]
        number = numbers[leader.name]
    ends = joint.parent, joint.child
    return Joint(joint.name, joint.type, *ends, origin[:3, :3], origin[:3, 3], axis, number, multiplier, offset)
