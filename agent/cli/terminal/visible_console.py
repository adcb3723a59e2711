"""A console for words from outside: vm names, labels and libvirt's own messages can't reach the terminal as commands."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from models.text import visible_lines


class VisibleConsole(Console):
    """Every piece of text on its way to the terminal passes here; what rich itself adds for colour does not."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=visible_lines(segment.text))
