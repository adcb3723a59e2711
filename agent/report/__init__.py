"""The report of a plan or an evacuation: one value, shown on a terminal, as JSON, or as one self-contained page.

report = build_report(fleet, risks, plan, verdict, policy, now=clock.now())
render_terminal(report, console)
write_html(report, Path("report.html"))
report.model_dump_json()
"""

from agent.report.build import build_report
from agent.report.html import render_html, write_html
from agent.report.report import Fate, Report, ReportKind, Tone
from agent.report.terminal import render_terminal

__all__ = ["Fate", "Report", "ReportKind", "Tone", "build_report", "render_html", "render_terminal", "write_html"]
