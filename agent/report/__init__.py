"""The report of a plan or an evacuation: one value, shown on a terminal, as JSON, as Markdown, or as one self-contained page.

report = build_report(fleet, risks, plan, verdict, policy, now=clock.now())
render_terminal(report, console)
write_report(report, Path("report.html"))  # or report.md
report.model_dump_json()
"""

from agent.report.build import build_report
from agent.report.html import render_html, write_html, write_report
from agent.report.markdown import render_markdown
from agent.report.report import Fate, Report, ReportKind, Tone
from agent.report.terminal import render_terminal

__all__ = [
    "Fate",
    "Report",
    "ReportKind",
    "Tone",
    "build_report",
    "render_html",
    "render_markdown",
    "render_terminal",
    "write_html",
    "write_report",
]
