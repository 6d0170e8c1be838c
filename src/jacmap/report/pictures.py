"""Pictures of matplotlib as SVG inside a page: text as text, in the colour of the page, no two with the same ids."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Callable
from typing import Any

from .._errors import JacmapError
from .parts import Figure

# A colour that no plot uses: what is drawn in it takes the colour of the page's text, light or dark.
TEXT = "#0e0f0d"

STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "jacmap",
    "font.family": ["sans-serif"],
    "text.color": TEXT,
    "axes.edgecolor": TEXT,
    "axes.labelcolor": TEXT,
    "xtick.color": TEXT,
    "ytick.color": TEXT,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "legend.facecolor": "none",
    "legend.framealpha": 0.0,
    "grid.color": "#80808055",
    **{f"axes3d.{axis}axis.panecolor": "none" for axis in "xyz"},
}

METADATA = ("Date", "Creator", "Format", "Type")  # left out: a report made again is the same

_numbers = itertools.count(1)


def figure(
    draw: Callable[[Any], Any],
    caption: str,
    description: str,
    size: tuple[float, float] = (6.0, 4.0),
    small: bool = False,
    **axes: Any,
) -> Figure | str:
    """What `draw(ax)` draws; the reason in words where it cannot be drawn."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure as Canvas

    with rc_context(STYLE):  # type: ignore[arg-type]
        canvas = Canvas(figsize=size, layout="compressed")
        try:
            draw(canvas.subplots(subplot_kw=axes))
        except JacmapError as error:
            return f"{caption}: no picture, because {error}"
        file = io.StringIO()
        canvas.savefig(file, format="svg", bbox_inches="tight", metadata=dict.fromkeys(METADATA))
    return Figure(_inline(file.getvalue(), f"f{next(_numbers)}-"), caption, description, small)


def _inline(svg: str, prefix: str) -> str:
    """The <svg> element alone, as wide as the page allows, its ids made the page's own."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, count=1, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'\bid="', f'id="{prefix}', svg)
    svg = re.sub(r"url\(#", f"url(#{prefix}", svg)
    svg = re.sub(r'href="#', f'href="#{prefix}', svg)
    return svg.replace("<svg ", '<svg aria-hidden="true" focusable="false" ', 1).replace(TEXT, "currentColor").strip()
