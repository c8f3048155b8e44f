"""Charts as SVG that sits inside the page: its text stays text, its colours are the page's, light or dark."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import matplotlib as mpl
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Each colour stands for a CSS variable of the page, and is replaced by it when the chart is done.
INK: Final = "#010101"
MUTED: Final = "#020202"
LINE: Final = "#030303"
SURFACE: Final = "#040404"
THIS: Final = "#050505"
CHAMPION: Final = "#060606"
FRAUD: Final = "#070707"
HONEST: Final = "#080808"
REVIEW: Final = "#090909"
DECLINE: Final = "#0a0a0a"
_VARIABLES: Final = {
    INK: "ink",
    MUTED: "muted",
    LINE: "line",
    SURFACE: "surface",
    THIS: "this",
    CHAMPION: "champion",
    FRAUD: "fraud",
    HONEST: "honest",
    REVIEW: "review",
    DECLINE: "decline",
}

SIZE_INCHES: Final = (4.9, 3.5)
"""353 points across: as wide as a phone, so that text keeps its size there and grows on a desk."""

_DPI: Final = 200
"""Of the few parts that are pixels: clouds of points, which as shapes would weigh megabytes."""

_STYLE: Final[dict[Any, Any]] = {
    "axes.edgecolor": LINE,
    "axes.facecolor": "none",
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 10.5,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.facecolor": "none",
    "font.size": 10.5,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 10.0,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.8,
    "path.simplify": True,
    "svg.fonttype": "none",
    "svg.hashsalt": "report",  # the same chart gets the same ids every time
    "text.color": INK,
    "xtick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.color": LINE,
    "ytick.labelcolor": MUTED,
}


class Chart(NamedTuple):
    """A chart with its title, and what one sees in it."""

    title: str
    picture: Markup
    caption: str


def drawn(
    name: str, title: str, caption: str, draw: Callable[[Axes], None], size_inches: tuple[float, float] = SIZE_INCHES
) -> Chart:
    """Return what `draw` draws on empty axes. `name` tells its ids from those of the page's other charts.

    The same drawing gives the same text: no dates, no random ids. Cost: some 50 ms.
    """
    file = io.StringIO()
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=size_inches, layout="constrained")
        draw(figure.subplots())
        figure.savefig(file, format="svg", dpi=_DPI, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return Chart(title, _inline(file.getvalue(), name, f"{title}. {caption}"), caption)


def legend_above(axes: Axes, columns: int) -> None:
    """Put the legend above the axes, where no line runs through it."""
    figure = axes.figure
    assert isinstance(figure, Figure), "a chart has no figure within a figure"
    figure.legend(loc="outside upper left", ncols=columns, handlelength=1.4, columnspacing=1.2)


def _inline(svg: str, name: str, description: str) -> Markup:
    """Return an SVG file as part of a page: without head, size, fonts and colours of its own, its ids made unique."""
    view = re.search(r'viewBox="[\d. ]+"', svg)
    assert view is not None, "matplotlib states the size of a chart"
    body = svg[svg.index(">", view.end()) + 1 :]
    body = re.sub(r"<style.*?</style>", "", body, flags=re.DOTALL)
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', body))
    body = re.sub(r' id="([^"]+)"', lambda found: f' id="{name}-{found[1]}"' if found[1] in used else "", body)
    body = re.sub(r"url\(#", f"url(#{name}-", body).replace('xlink:href="#', f'href="#{name}-')
    body = body.replace('xlink:href="', 'href="')
    body = re.sub(r" font-family: [^;\"]*;?", "", body)
    for colour, variable in _VARIABLES.items():
        body = body.replace(colour, f"var(--{variable})")
    body = re.sub(r"\s*\n\s*", " ", body)
    return Markup(f'<svg {view[0]} role="img" aria-label="{escape(description)}">{body}')  # noqa: S704  our own drawing
