"""The colours measured: lightness that orders, hues that stay apart for colour-blind eyes."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from jacmap.plot import _colours
from jacmap.plot._colours import SHARES, SIGNED, SIZES, ink, overlaid, overlay, signed, sizes

# Full loss of one kind of cone: Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB.
BLINDNESS = {
    "none": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def seen(rgb, kind):
    """CIELAB of sRGB colours (k, 3) as eyes of that kind see them."""
    rgb = np.asarray(rgb, float)
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = np.clip(linear @ np.asarray(BLINDNESS[kind]).T, 0, 1) @ XYZ.T / XYZ.sum(axis=1)
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)


@pytest.mark.parametrize("kind", BLINDNESS)
@pytest.mark.parametrize("colours", [SIZES, SHARES], ids=["sizes", "shares"])
def test_lightness_orders_a_sequence(colours, kind):
    lightness = seen(colours(np.linspace(0, 1, 33))[:, :3], kind)[:, 0]
    steps = np.diff(lightness)
    assert (steps > 0).all() or (steps < 0).all()
    assert abs(lightness[-1] - lightness[0]) > 40


@pytest.mark.parametrize("kind", BLINDNESS)
@pytest.mark.parametrize("colours", [SIGNED, overlaid(1.0)], ids=["signed", "overlaid"])
def test_signed_colours_darken_to_both_sides_and_the_sides_differ(colours, kind):
    lab = seen(colours(np.linspace(0, 1, 33))[:, :3], kind)
    assert (np.diff(lab[:17, 0]) > -0.1).all() and (np.diff(lab[16:, 0]) < 0.1).all()
    below, above = lab[4], lab[-5]
    assert np.linalg.norm(below - above) > 35  # a just noticeable difference is about 2.3
    assert abs(below[0] - above[0]) < 20  # neither side looks much larger; protanopes see red as darker


def test_the_lightest_share_is_seen_on_white():
    assert seen([SHARES(0.0)[:3]], "none")[0, 0] < 85


@pytest.mark.parametrize("kind", BLINDNESS)
def test_the_categories_differ(kind):
    names = ("BLACK", "GREY", "BLUE", "VERMILLION", "GREEN")
    lab = seen([to_rgb(getattr(_colours, name)) for name in names], kind)
    apart = np.linalg.norm(lab[:, None] - lab[None], axis=2) + 100 * np.eye(len(names))
    assert apart.min() > 9


def test_numbers_can_be_read_on_their_cells():
    for colour in SIGNED(np.linspace(0, 1, 64)):
        linear = np.where(colour[:3] <= 0.04045, colour[:3] / 12.92, ((colour[:3] + 0.055) / 1.055) ** 2.4)
        luminance = float(linear @ [0.2126, 0.7152, 0.0722])
        contrast = (luminance + 0.05) / 0.05 if ink(colour) == "black" else 1.05 / (luminance + 0.05)
        assert contrast >= 4.5  # WCAG 2.2, level AA


def test_scales_are_linear_or_logarithmic_by_what_they_show():
    assert sizes(np.linspace(1, 2, 50))[1] == "" and "log" in sizes(np.logspace(-3, 3, 50))[1]
    assert signed(np.linspace(-1, 1, 50))[1] == ""
    norm, said = signed(np.concatenate([np.logspace(-3, 3, 50), -np.logspace(-3, 3, 50)]))
    assert "log" in said and norm(0.0) == pytest.approx(0.5) and norm.vmax == -norm.vmin
    one_far = np.append(np.linspace(-1, 1, 99), 1e9)
    assert signed(one_far)[0].vmax < 2  # a pole does not decide
    assert sizes(np.full(9, 2.0))[0](2.0) == pytest.approx(0.5)  # a constant is not painted as noise


def test_an_overlay_hides_nothing_where_nothing_is_known():
    layer = overlay(np.array([0.0, np.nan, 1.0, -5.0]), 1.0)
    assert layer[:, 3].tolist() == [0.0, 0.0, 1.0, 1.0]
    assert layer[2, 0] > layer[2, 2] and layer[3, 0] < layer[3, 2]
