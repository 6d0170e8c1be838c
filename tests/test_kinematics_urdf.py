"""What a URDF must hold: faults are refused with their line, and what is accepted is read rightly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from urdf_cases import TREE, damaged, judge

import jacmap as jm

Robot = jm.kinematics.Robot
LAUGHS = '<!DOCTYPE robot [<!ENTITY a "ha">' + "".join(
    f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True)
) + "]>\n"  # fmt: skip


def test_a_tree_is_read() -> None:
    robot = Robot.from_urdf(TREE)
    assert robot.name == "tree" and robot.base == "base"
    assert robot.joints == ("turn", "push", "finger")
    assert robot.links == ("base", "arm", "slide", "tool", "left", "right")
    np.testing.assert_array_equal(robot.lower, [-np.inf, -0.3, -1])
    np.testing.assert_array_equal(robot.upper, [np.inf, 0.4, 1.2])
    np.testing.assert_array_equal(robot.speed, [np.inf, 0.2, 3])
    np.testing.assert_array_equal(robot.effort, [np.inf, 9, 5])
    assert judge(TREE) == "right"


def test_a_joint_may_mimic_one_that_mimics() -> None:
    old = '<limit lower="-1" upper="1.2" velocity="3" effort="5"/>'
    assert judge(TREE.replace(old, f'{old}<mimic joint="turn" multiplier="2" offset="0.3"/>')) == "right"


def test_from_a_file_a_path_bytes_and_with_a_declared_encoding(tmp_path: Path) -> None:
    path = tmp_path / "tree.urdf"
    path.write_text('<?xml version="1.0" encoding="latin-1"?>\n<!-- ü -->' + TREE, encoding="latin-1")
    for source in (path, str(path), path.read_bytes(), path.read_text(encoding="latin-1"), "\ufeff" + TREE):
        assert Robot.from_urdf(source).joints == ("turn", "push", "finger")


# (what is replaced, by what, the line that the message names, what it says)
FAULTS = [
    ('<robot name="tree">', '<model name="tree">', 19, "mismatched"),
    ('  <link name="arm"/>', '  <link name="base"/>', 3, "comes twice, first on line 2"),
    ('  <link name="arm"/>', "  <link/>", 3, 'has no name="..."'),
    ('<joint name="push"', '<joint name="turn"', 10, "comes twice, first on line 8"),
    ('type="fixed"', 'type="floating"', 12, 'of type "floating", expected one of revolute'),
    ('type="fixed"', 'type="hinge"', 12, 'of type "hinge"'),
    ('type="fixed"', "", 12, 'has no type="..."'),
    ('<parent link="slide"/>', "", 12, "has no <parent>"),
    ('<parent link="slide"/>', '<parent link="slid"/>', 12, 'names the link "slid", which is not in the file'),
    ('<child link="right"/>', '<child link="tool"/>', 16, 'holds the link "tool", which "mount" on line 12 holds too'),
    ('<child link="right"/>', '<child link="right"/><child link="arm"/>', 16, "has 2 <child>"),
    ('<parent link="slide"/><child link="tool"/>', '<parent link="tool"/><child link="tool"/>', 12, "to itself"),
    ('<parent link="arm"/>', '<parent link="right"/>', 10, "closes a cycle of links"),
    ('  <link name="arm"/>', '  <link name="arm"/><link name="loose"/>', 3, 'has no parent, and neither has "base"'),
    ('<axis xyz="0 0.6 0.8"/>', '<axis xyz="0 0 0"/>', 9, "expected a direction: not zero"),
    ('<axis xyz="0 0.6 0.8"/>', '<axis xyz="0 0 1e-300"/>', 9, "not zero"),
    ('<axis xyz="0 0.6 0.8"/>', '<axis xyz="0 1"/>', 9, "expected three numbers"),
    ('xyz="0.1 -0.2 0.3"', 'xyz="0.1 nan 0.3"', 9, '"nan" in xyz'),
    ('xyz="0.1 -0.2 0.3"', 'xyz="0.1 1_0 0.3"', 9, '"1_0" in xyz'),
    ('xyz="0.1 -0.2 0.3"', 'xyz="0.1 1e400 0.3"', 9, "of size 1e+12 at most"),
    ('lower="-1" upper="1.2"', 'lower="2" upper="1.2"', 15, "has lower 2 above upper 1.2"),
    ('<limit lower="-0.3" upper="0.4" velocity="0.2" effort="9"/>', "", 10, "has no <limit>"),
    ('velocity="0.2"', 'velocity="-0.2"', 11, "negative velocity"),
    ('<mimic joint="finger"', '<mimic joint="toe"', 18, 'names the joint "toe", which is not in the file'),
    ('<mimic joint="finger"', '<mimic joint="mount"', 18, "which is fixed"),
    ('<mimic joint="finger"', '<mimic joint="thumb"', 16, "mimics itself: thumb → thumb"),
    ('multiplier="-0.5"', 'multiplier="half"', 18, '"half" in multiplier'),
    ('  <link name="base"/>', '  <xacro:macro name="m"/>', 2, "xacro robot.xacro > robot.urdf"),
    ('  <link name="base"/>', '  <link name="base"', 3, "not well-formed XML"),
    ('<robot name="tree">', '<!DOCTYPE robot SYSTEM "file:///etc/passwd">\n<robot name="tree">', 1, "document type"),
    ('<robot name="tree">', LAUGHS + '<robot name="&i;">', 1, "document type"),
    ('xyz="0.1 -0.2 0.3"', 'xyz="&a; 0 0"', 9, "undefined entity"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "line", "said"), FAULTS, ids=[f"{k}" for k in range(len(FAULTS))])
def test_a_fault_is_refused_with_its_line(old: str, new: str, line: int, said: str) -> None:
    assert TREE.count(old) == 1
    with pytest.raises(jm.ArgumentError) as caught:
        Robot.from_urdf(TREE.replace(old, new))
    assert f"line {line}:" in str(caught.value) and said in str(caught.value), str(caught.value)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("<robot/>", "has no <link>"),
        ("<mujoco/>", "expected <robot>"),
        ("missing.urdf", 'cannot read "missing.urdf"'),
        ("a\0b", "cannot read"),
        ("", "cannot read"),
        (b"", "no element found"),
        (b'<?xml version="1.0" encoding="klingon"?><robot/>', "line 1"),
        (7, "got int"),
    ],
)
def test_what_is_no_urdf_is_refused(source: object, said: str) -> None:
    with pytest.raises(jm.ArgumentError, match=said.replace("(", "\\(")):
        Robot.from_urdf(source)  # type: ignore[arg-type]


def test_a_long_chain_and_a_deep_text_are_read_in_linear_time() -> None:
    links = "".join(f'<link name="l{k}"/>' for k in range(3000))
    joints = "".join(
        f'<joint name="j{k}" type="fixed"><parent link="l{k}"/><child link="l{k + 1}"/></joint>' for k in range(2999)
    )
    robot = Robot.from_urdf(f"<robot name='r'>{links}{joints}{'<deep>' * 20000}{'</deep>' * 20000}</robot>")
    assert len(robot.links) == 3000 and robot.joints == ()
    assert robot.pose(np.zeros((2, 0)), "l2999").translation().shape == (2, 3)


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(damaged())
def test_any_text_is_refused_or_read_rightly(text: str) -> None:
    judge(text)
