"""Figures are drawn on whatever thread a pass runs on."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from agent.report.drawing import Texts, new_figure, to_svg


@pytest.mark.slow
def test_threads_that_drew_leave_no_font_open() -> None:
    _draw()
    before = _open_fonts()
    for _ in range(3):
        thread = threading.Thread(target=_draw)
        thread.start()
        thread.join()
    assert _open_fonts() <= before


def _draw() -> None:
    figure, axes = new_figure(2.0)
    axes.plot([1, 2])
    assert to_svg(figure, Texts(), "salt", "a line").startswith("<svg")


def _open_fonts() -> int:
    links = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return sum(link.endswith((".ttf", ".otf")) for link in links)
