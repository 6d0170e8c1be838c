"""URDF texts, sound and damaged, and where their links are by another road: ElementTree, NumPy and SciPy alone."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import Any

import jax
import numpy as np
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

import jacmap as jm

TREE = """\
<robot name="tree">
  <link name="base"/>
  <link name="arm"/>
  <link name="slide"/>
  <link name="tool"/>
  <link name="left"/>
  <link name="right"/>
  <joint name="turn" type="continuous"><parent link="base"/><child link="arm"/>
    <origin xyz="0.1 -0.2 0.3" rpy="0.4 -0.5 1.6"/><axis xyz="0 0.6 0.8"/></joint>
  <joint name="push" type="prismatic"><parent link="arm"/><child link="slide"/>
    <origin xyz="0 0 0.5"/><axis xyz="2 0 0"/><limit lower="-0.3" upper="0.4" velocity="0.2" effort="9"/></joint>
  <joint name="mount" type="fixed"><parent link="slide"/><child link="tool"/>
    <origin rpy="3.1415926 0 0.3" xyz="0.2 0 0"/></joint>
  <joint name="finger" type="revolute"><parent link="tool"/><child link="left"/>
    <origin xyz="0 0.05 0"/><axis xyz="0 0 1"/><limit lower="-1" upper="1.2" velocity="3" effort="5"/></joint>
  <joint name="thumb" type="revolute"><parent link="left"/><child link="right"/>
    <origin xyz="0 0.07 0.01"/><axis xyz="0 1 0"/><limit lower="-1" upper="1" velocity="3" effort="5"/>
    <mimic joint="finger" multiplier="-0.5" offset="0.2"/></joint>
</robot>
"""


def places(text: str, q: np.ndarray) -> dict[str, np.ndarray]:
    """The 4×4 pose of every link."""
    root = ElementTree.fromstring(text)
    joints = {joint.get("name").strip(): joint for joint in root.findall("joint")}  # type: ignore[union-attr]
    kind = {name: joint.get("type", "").strip() for name, joint in joints.items()}
    leaders = {
        name: joint.find("mimic")
        for name, joint in joints.items()
        if joint.find("mimic") is not None and kind[name] != "fixed"
    }
    free = [name for name in joints if name not in leaders and kind[name] != "fixed"]
    amounts = dict(zip(free, q, strict=True))

    def amount(name: str) -> float:
        if name in amounts:
            return amounts[name]
        mimic: Any = leaders[name]
        return float(mimic.get("multiplier", 1)) * amount(mimic.get("joint").strip()) + float(mimic.get("offset", 0))

    above = {joint.find("child").get("link").strip(): name for name, joint in joints.items()}  # type: ignore[union-attr]

    def place(link: str) -> np.ndarray:
        if link not in above:
            return np.eye(4)
        name = above[link]
        joint = joints[name]
        origin, axis = joint.find("origin"), joint.find("axis")
        here = np.eye(4)
        if origin is not None:
            here[:3, :3] = Rotation.from_euler("xyz", numbers(origin.get("rpy", "0 0 0"))).as_matrix()
            here[:3, 3] = numbers(origin.get("xyz", "0 0 0"))
        motion = np.eye(4)
        if kind[name] != "fixed":
            along = numbers(axis.get("xyz", "1 0 0") if axis is not None else "1 0 0")
            along = along / np.linalg.norm(along)
            if kind[name] == "prismatic":
                motion[:3, 3] = amount(name) * along
            else:
                motion[:3, :3] = Rotation.from_rotvec(amount(name) * along).as_matrix()
        return place(joint.find("parent").get("link").strip()) @ here @ motion  # type: ignore[union-attr]

    return {link.get("name").strip(): place(link.get("name").strip()) for link in root.findall("link")}  # type: ignore[union-attr]


def numbers(text: str) -> np.ndarray:
    return np.array([float(word) for word in text.split()])


# -- fuzz --------------------------------------------------------------------------------------------------------------
NUMBERS = ("0", "1", "-1", "0.5", "1.5707963", "-2.25e-1", "+.3", "3.", "1e-3", "0.0", "-0")
JUNK = ("", "nan", "inf", "-inf", "1e999", "1_0", "٣", "0x1", "1,5", "a", "1 2", "${pi}", "1e-400", "--1", "base",
        "l1", "j0", "fixed", "floating", "revolute", "&lt;", "&x;", "&#0;", "<", '"', "\x00", "1e13")  # fmt: skip
PIECES = (
    '<link name="l1"/>', '<joint name="j0" type="fixed"/>', "</joint>", "<!-- -->", "<!--", "<?xml?>", "<axis/>",
    '<!DOCTYPE robot [<!ENTITY a "b">]>', '<axis xyz="0 0 0"/>', "<robot>", "]]>", '<mimic joint="j1"/>',
    '<limit lower="2" upper="1"/>', "</robot>", '<parent link="l0"/>', '<xacro:if value="1"/>', "<link/>",
)  # fmt: skip


@st.composite
def sound(draw: Any) -> str:
    """A robot of up to six links, each element on a line of its own."""
    count = draw(st.integers(1, 6))
    number = st.sampled_from(NUMBERS)
    lines = ['<robot name="fuzz">', *(f'<link name="l{k}"/>' for k in range(count))]
    for k in range(1, count):
        kind = draw(st.sampled_from(("revolute", "continuous", "prismatic", "fixed")))
        lines += [f'<joint name="j{k}" type="{kind}">', f'<parent link="l{draw(st.integers(0, k - 1))}"/>',
                  f'<child link="l{k}"/>']  # fmt: skip
        if draw(st.booleans()):
            xyz, rpy = (" ".join(draw(number) for _ in range(3)) for _ in range(2))
            lines.append(f'<origin xyz="{xyz}" rpy="{rpy}"/>')
        if draw(st.booleans()):
            lines.append(f'<axis xyz="{draw(number)} {draw(number)} {draw(st.sampled_from(("1", "-2", "0")))}"/>')
        lines.append('<limit lower="-1" upper="2" effort="1" velocity="1"/>')
        if draw(st.integers(0, 3)) == 0:
            lines.append(f'<mimic joint="j{draw(st.integers(1, count))}" multiplier="{draw(number)}"/>')
        lines.append("</joint>")
    return "\n".join([*lines, "</robot>"])


@st.composite
def damaged(draw: Any) -> str:
    """A sound text with up to three blows to it."""
    text = draw(sound())
    for _ in range(draw(st.integers(0, 3))):
        lines = text.split("\n")
        at = draw(st.integers(0, len(lines) - 1))
        blow = draw(st.sampled_from(("value", "line", "drop", "twice", "swap", "cut")))
        if blow == "value":
            parts = lines[at].split('"')
            if len(parts) > 2:
                parts[2 * draw(st.integers(0, (len(parts) - 3) // 2)) + 1] = draw(st.sampled_from(JUNK))
                lines[at] = '"'.join(parts)
        elif blow == "line":
            lines.insert(at, draw(st.sampled_from(PIECES)))
        elif blow == "drop":
            del lines[at]
        elif blow == "twice":
            lines.insert(at, lines[at])
        elif blow == "swap":
            other = draw(st.integers(0, len(lines) - 1))
            lines[at], lines[other] = lines[other], lines[at]
        else:
            place = draw(st.integers(0, len(lines[at])))
            lines[at] = lines[at][:place] + lines[at][place + draw(st.integers(0, 4)) :]
        text = "\n".join(lines)
    return text


def judge(text: str) -> str:
    """ "refused", with the line, or "right"; anything else fails."""
    try:
        robot = jm.kinematics.Robot.from_urdf(text)
    except jm.ArgumentError as error:
        assert "<" not in text or "URDF, line " in str(error), str(error)
        return "refused"
    q = np.linspace(-0.9, 1.1, len(robot.joints))
    with jax.disable_jit():
        found = np.asarray(robot.poses(q).as_matrix())
    expected = places(text, q)
    for k, link in enumerate(robot.links):
        np.testing.assert_allclose(found[k], expected[link], rtol=1e-12, atol=1e-9 * max(1.0, np.abs(found[k]).max()))
    return "right"
