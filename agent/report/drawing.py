"""Figures as inline SVG for the reports' pages: matplotlib draws them, two things are changed in what it writes.

Colours are drawn as stand-ins and become CSS variables, so that one page is light and dark. Texts are drawn as stand-ins and
become escaped text afterwards, so that a name from outside never meets matplotlib's own markup (`$…$`) or its fonts' missing
glyphs. matplotlib is imported when a figure is asked for.
"""

from __future__ import annotations

import html
import io
import re
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models.text import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Stand-in colour → CSS variable of the page.
INK, MUTED, RULE, ACCENT, DANGER, COLD, PAPER = (
    "#010101", "#020202", "#030303", "#040404", "#050505", "#060606", "#070707",
)  # fmt: skip
_VARIABLES = {
    INK: "ink", MUTED: "muted", RULE: "rule", ACCENT: "accent", DANGER: "danger", COLD: "cold", PAPER: "paper",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Size:
    """How a figure is drawn for one width of page: text keeps its size, so that a phone gets fewer words and not smaller ones."""

    narrow: bool
    inches: float
    left: float
    """share of the width before the axes"""
    right: float
    """where the axes end; names of lines stand behind it"""
    name: int
    """characters of a name"""
    ticks: int
    """at most, along a line of time"""


WIDE = Size(narrow=False, inches=9.6, left=0.062, right=0.885, name=16, ticks=9)
NARROW = Size(narrow=True, inches=4.1, left=0.125, right=0.75, name=12, ticks=4)
"""for 390 pixels"""


class Texts:
    """Texts to put in after drawing; `put` returns the stand-in to draw."""

    def __init__(self) -> None:
        self._kept: list[str] = []

    def put(self, text: str, limit: int = 60) -> str:
        self._kept.append(html.escape(visible(text, limit)))
        return f"@T{len(self._kept) - 1}@"

    def fill_in(self, svg: str) -> str:
        return re.sub(r"@T(\d+)@", lambda stand_in: self._kept[int(stand_in[1])], svg)


def new_figure(height_inches: float, size: Size = WIDE) -> tuple[Figure, Axes]:
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(size.inches, height_inches), facecolor="none")
    FigureCanvasSVG(figure)
    axes = figure.add_subplot(facecolor="none")
    figure.subplots_adjust(left=size.left, right=size.right, top=0.95, bottom=0.42 / height_inches)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(RULE)
    axes.tick_params(colors=MUTED, labelcolor=MUTED, length=3, width=0.6)
    axes.set_axisbelow(True)
    return figure, axes


def to_svg(figure: Figure, texts: Texts, salt: str, label: str, size: Size | None = None) -> str:
    """The figure as one `<svg>` element: no header, metadata or addresses, scalable, its colours CSS variables.

    size: of a figure that is drawn for each width of page; only the one that fits is shown.
    """
    from matplotlib import rc_context

    of = "" if size is None else " narrow" if size.narrow else " wide"
    page = f"{of}-page" if of else ""
    for text in _texts_of(figure):
        text.set_parse_math(False)
        if text.get_fontsize() > 9:
            text.set_fontsize(9)
    out = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": f"lifeboat-{salt}{of}"}):
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    _close_fonts()
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # ids of groups are the same in every figure and nothing points at them
    svg = re.sub(r'\s(width|height)="[\d.]+pt"', "", svg, count=2)
    svg = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", svg, count=2).replace("xlink:href", "href")
    svg = re.sub(r'\sversion="1.1"', "", svg, count=1)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var(--{variable})")
    svg = re.sub(r"font-family: [^;\"]*; ", "", svg)  # the page's own
    head = f'<svg class="chart{page}" role="img" aria-label="{html.escape(label)}"'
    return re.sub(r"\n\s*\n", "\n", texts.fill_in(svg.replace("<svg", head, 1)))


def _close_fonts() -> None:
    """matplotlib keeps each font open once for each thread that ever drew, and an agent's threads come and go."""
    if threading.current_thread() is not threading.main_thread():
        from matplotlib import font_manager

        # Its own name for it, and nobody else's: without it a font stays open, and the page is drawn all the same.
        kept: Any = getattr(font_manager, "_get_font", None)
        if kept is not None:
            kept.cache_clear()


def _texts_of(figure: Figure) -> list[Any]:
    from matplotlib.text import Text

    return list(figure.findobj(Text))
