"""What the pictures of an arm show, against its poses and the closed form of a planar one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import pyplot as plt
from plot_cases import PLANAR

import jacmap as jm
from jacmap import plot

ARM = jm.kinematics.Robot.from_urdf(Path(__file__).parents[1] / "examples/arm.urdf")
Q = np.array([0.3, -0.5, 1.0, 0.2, 0.7, 0.0])


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_the_arm_is_drawn_through_its_links_with_the_axes_of_its_ellipsoid() -> None:
    ax = plot.arm(ARM, Q, "tip", scale=0.5)
    places = dict(zip(ARM.links, np.asarray(ARM.poses(Q).translation()), strict=True))
    lines = [np.stack(line.get_data_3d(), axis=1) for line in ax.lines]
    ends = [line for line in lines if len(line) == 2]
    assert any(np.allclose(line, [places["upper"], places["forearm"]]) for line in ends)
    J = np.asarray(ARM.jacobian(Q, "tip"))[:3]
    longest = max(ends, key=lambda line: np.linalg.norm(line[1] - line[0]) * np.allclose(line.mean(0), places["tip"]))
    assert np.linalg.norm(longest[1] - longest[0]) == pytest.approx(2 * 0.5 * np.linalg.norm(J, 2))
    assert "translation of tip by unit joint speeds, half-axes" in ax.get_title()


def test_the_map_holds_the_closed_form_of_a_planar_arm() -> None:
    ax = plot.manipulability_map(PLANAR, [0.5, 1.0], "tip", ("first", "second"), part="translation", resolution=21)
    values = np.asarray(ax.collections[0].get_array()).reshape(21, 21)
    expected = np.abs(np.sin(np.linspace(-np.pi, np.pi, 21)))[:, None] * np.ones(21)
    # Fewer joints than linear rows: √det(JᵀJ).
    np.testing.assert_allclose(values, expected, atol=1e-12)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("first", "second")


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: plot.arm(ARM, Q, "nose"), "link: got 'nose'"),
        (lambda: plot.arm(ARM, Q[None], "tip"), r"q: got shape \[1, 6\]"),
        (lambda: plot.arm(ARM, Q, "tip", part="all"), "part: got 'all'"),
        (lambda: plot.arm(ARM, Q, "tip", ax=plt.subplots()[1]), "flat axes"),
        (lambda: plot.manipulability_map(ARM, Q[None], "tip", ("pan", "lift")), r"q: got shape \[1, 6\]"),
        (lambda: plot.manipulability_map(ARM, Q, "tip", ("pan", "tilt")), "joints: got"),
        (lambda: plot.manipulability_map(ARM, Q, "tip", ("pan", "lift"), resolution=1), "resolution"),
    ],
)
def test_a_wrong_argument_is_named(call: Callable[[], Any], said: str) -> None:
    with pytest.raises(jm.ArgumentError, match=said):
        call()
