"""Every plot against a kept picture, at low resolution and without words, which are tested by themselves.

Letters differ from one build of FreeType to the next, and the layout with them. `python tests/test_plot_images.py`
draws the pictures anew: look at them before keeping them.
"""

import io
import os
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "Agg")

import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure
from matplotlib.text import Text

if __name__ == "__main__":
    import conftest  # noqa: F401  (the same precision as the tests)

from plot_cases import CASES

BASELINES = Path(__file__).parent / "plot_baselines"
TOLERANCE = 2.0  # root mean square over pixels, of 255; a line that is missing makes 5 to 30


def picture(name: str) -> np.ndarray:
    """(height, width, 3) in bytes: the plot with every word and tick label taken away."""
    with matplotlib.rc_context(matplotlib.rcParamsDefault):
        figure = Figure(figsize=(5, 4), dpi=50)
        ax = figure.add_axes((0.1, 0.1, 0.6, 0.8))
        assert CASES[name](ax=ax) is ax
        figure.draw_without_rendering()  # ticks are made now
        for part in figure.findobj(lambda part: isinstance(part, Text) or part.__class__.__name__ == "Legend"):
            part.set_visible(False)
        for axes in figure.findobj(matplotlib.axes.Axes):
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_formatter(matplotlib.ticker.NullFormatter())
                axis.set_minor_formatter(matplotlib.ticker.NullFormatter())
        drawn = io.BytesIO()
        figure.savefig(drawn, format="rgba", dpi=50)
    return np.frombuffer(drawn.getvalue(), np.uint8).reshape(200, 250, 4)[..., :3]


def distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sqrt(np.mean((a.astype(float) - b.astype(float)) ** 2)))


def kept(name: str) -> np.ndarray:
    read = matplotlib.image.imread(BASELINES / f"{name}.png")
    return np.round(255 * read[..., :3]).astype(np.uint8)


@pytest.mark.parametrize("name", CASES)
def test_the_plot_looks_as_it_did(name: str, tmp_path: Path) -> None:
    now = picture(name)
    assert not pyplot.get_fignums()  # drawn on the axes given, nowhere else
    off = distance(now, kept(name))
    if off > TOLERANCE:
        matplotlib.image.imsave(tmp_path / f"{name}.png", now)
    assert off <= TOLERANCE, f"{tmp_path / name}.png differs from {BASELINES / name}.png by {off:.1f} of 255"


def test_a_changed_plot_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jacmap.plot._grid.folds", lambda *arguments: [])
    assert distance(picture("grid"), kept("grid")) > TOLERANCE


def test_no_two_pictures_pass_for_each_other() -> None:
    pictures = {name: kept(name) for name in CASES}
    for a in pictures:
        for b in pictures:
            assert a == b or distance(pictures[a], pictures[b]) > 2 * TOLERANCE, f"{a} passes for {b}"


def test_the_pictures_are_small() -> None:
    files = list(BASELINES.glob("*.png"))
    assert {file.stem for file in files} == set(CASES)
    assert sum(file.stat().st_size for file in files) < 300_000


if __name__ == "__main__":
    BASELINES.mkdir(exist_ok=True)
    for name in CASES:
        matplotlib.image.imsave(BASELINES / f"{name}.png", picture(name))
