"""The report as one page that needs nothing else: no script, no font, no picture, no address is fetched.

Every value a template prints passes through `visible` (characters that don't show are written out) and is then escaped,
so names and reasons from outside stay text. A content security policy in the page forbids the rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cache
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from agent.report import charts as report_charts
from agent.report.markdown import render_markdown
from agent.report.relevance import relevant_nodes, target_names
from agent.report.report import Fate, NodeRow, Report, ReportKind, VmRow
from agent.report.sentences import few, survived, weighed
from models.base import parse_duration
from models.errors import BadInput
from models.extras import extra_missing
from models.plan import ActionKind
from models.text import bytes_in_words, counted, listed, moment, percent, seconds_in_words, visible
from tools.atomic_file import write_atomically

if TYPE_CHECKING:
    from jinja2 import Environment

_Shown = TypeVar("_Shown")
_TEMPLATES = Path(__file__).parent / "templates"
_MAX_NODES = 12
_LONGEST = 600
"""characters of one printed value"""
_FATES = {
    Fate.MOVED: "moved",
    Fate.ARCHIVED: "archived",
    Fate.PLANNED: "to come",
    Fate.MOVING: "moving",
    Fate.UNTOUCHED: "not moved",
    Fate.GONE_BEFORE: "was gone",
    Fate.LOST: "lost",
    Fate.INDETERMINATE: "indeterminate",
}
_HOW = {
    ActionKind.LIVE_MIGRATE: "live",
    ActionKind.COLD_MIGRATE: "cold move",
    ActionKind.COLD_ARCHIVE: "cold archive",
    ActionKind.STAY: "stays",
}


def write_report(report: Report, path: Path) -> None:
    """Write Markdown where the file's name ends so, else the page. Whole or not at all; raises BadInput as `write_page`."""
    markdown = path.suffix.lower() in (".md", ".markdown")
    write_page(path, render_markdown(report) if markdown else render_html(report))


def write_html(report: Report, path: Path) -> None:
    """Write the page; the file appears whole or not at all. Raises BadInput when the place can't be written."""
    write_page(path, render_html(report))


def write_page(path: Path, page: str) -> None:
    """Write a page that was rendered. Raises BadInput when the place can't be written."""
    try:
        write_atomically(path, page, mode=0o644)
    except OSError as error:
        raise BadInput(
            f"report {path} can't be written: {error.strerror or error}", hint="give a file in a folder that can be"
        ) from error


def page_style() -> str:
    """The style sheet of all pages."""
    return (_TEMPLATES / "report.css").read_text(encoding="utf-8")


def render_html(report: Report) -> str:
    """The whole page as text."""
    from markupsafe import Markup

    dry = report.kind is ReportKind.DRY_RUN
    shown = _shown_nodes(report)
    relevant = relevant_nodes(report)
    moves = [vm for vm in report.concerned if vm.planned not in (None, ActionKind.STAY)]
    risk = _drawn(report_charts.risk_chart, report)
    simulated = _drawn(report_charts.simulation_chart, report.simulation) if report.simulation else ""
    saved = [vm for vm in report.vms if vm.fate in (Fate.MOVED, Fate.ARCHIVED) and _was_lost(vm, report)]
    places = _places_after(report, dry)
    return (
        page_environment()
        .get_template("report.html.j2")
        .render(
            r=report,
            title=f"{'SIMULATED: ' if report.simulated else ''}lifeboat: {report.headline}",
            css=Markup(page_style()),  # noqa: S704 -- our own file
            dry=dry,
            horizons=relevant.horizons[:6],
            relevant=relevant,
            shown_nodes=shown,
            hidden_nodes=len(report.nodes) - len(shown),
            moves=moves,
            stays=[vm for vm in report.concerned if vm.planned in (None, ActionKind.STAY)],
            max_rows=report_charts.MAX_ROWS,
            # The charts escape what they were given themselves.
            risk_chart=Markup(risk),  # noqa: S704
            horizon_chart=Markup("" if risk else _drawn(report_charts.horizon_chart, report)),  # noqa: S704
            moves_chart=Markup(_drawn(report_charts.moves_chart, report)),  # noqa: S704
            rules=sorted(report.rules, key=lambda rule: (rule.passed, rule.judged)),
            before={n.name: [(vm, "") for vm in report.vms if vm.node_before == n.name] for n in shown},
            after={n.name: places.get(n.name, []) for n in shown},
            after_archive=places.get(_ARCHIVE, []),
            after_unknown=places.get(_UNKNOWN, []),
            lost_nodes=[node.name for node in report.nodes if node.lost],
            saved=len(saved),
            weighed=weighed(report.loss),
            simulation_chart=Markup(simulated),  # noqa: S704
            survived=survived(report.next_failure) if report.next_failure is not None else "",
        )
    )


def _drawn(chart: Callable[[_Shown], str], shown: _Shown) -> str:
    """A chart as markup; where nothing here can draw, a line that says so in its place: the tables tell the same."""
    try:
        return chart(shown)
    except ModuleNotFoundError as error:
        lacking = extra_missing(error)
        if lacking is None:
            raise
        return f'<p class="small">{escape(str(lacking))}</p>'


_ARCHIVE, _UNKNOWN = object(), object()


def _places_after(report: Report, dry: bool) -> dict[object, list[tuple[VmRow, str]]]:
    """Who is where afterwards, each with a word where the place alone doesn't say it."""
    places: dict[object, list[tuple[VmRow, str]]] = {}
    for vm in report.vms:
        if vm.fate is Fate.ARCHIVED or (dry and vm.planned is ActionKind.COLD_ARCHIVE):
            places.setdefault(_ARCHIVE, []).append((vm, ""))
        elif vm.fate is Fate.LOST:
            places.setdefault(vm.node_after or vm.node_before, []).append((vm, "lost"))
        elif vm.fate is Fate.INDETERMINATE:
            places.setdefault(_UNKNOWN, []).append((vm, "indeterminate"))
        elif vm.node_after is None and vm.concerned:
            places.setdefault(_UNKNOWN, []).append((vm, "not observed"))
        else:
            word = vm.state_after.value if vm.state_after and vm.state_after is not vm.state_before else ""
            places.setdefault(vm.node_after or vm.node_before, []).append((vm, word))
    return places


def _was_lost(vm: VmRow, report: Report) -> bool:
    return any(node.lost and node.name == vm.node_before for node in report.nodes)


def _shown_nodes(report: Report) -> list[NodeRow]:
    """The nodes drawn before and after: those emptied or lost, and the targets that get most, up to a limit."""
    arriving = Counter(name for vm in report.concerned for name in {vm.target, vm.node_after} if name)
    targets = target_names(report)
    must = [node for node in report.nodes if node.evacuating or node.lost]
    taking = [node for node in report.nodes if node.name in targets and node not in must]
    others = [node for node in report.nodes if node.name not in targets and node not in must]
    taking.sort(key=lambda node: (-arriving[node.name], node.name))
    others.sort(key=lambda node: (node.at_trigger_horizon is not None, -(node.at_trigger_horizon or 0.0)))
    # In a small fleet every node is drawn; in a large one those that take no part say nothing here.
    few = others if len(report.nodes) <= _MAX_NODES else []
    return [*must, *taking[:_MAX_NODES], *few]


def _silence(vm: VmRow, dry: bool) -> str:
    if vm.planned is ActionKind.COLD_ARCHIVE:
        return "stopped"
    if dry:
        return seconds_in_words(vm.estimated_downtime_seconds)
    if vm.measured.blackout_seconds is not None:
        return f"◉ {seconds_in_words(vm.measured.blackout_seconds)}"
    if vm.measured.downtime_seconds is not None:
        return seconds_in_words(vm.measured.downtime_seconds)
    return "not measured" if vm.outcome is not None else "–"


def _offset(seconds: float) -> str:
    return f"+{seconds_in_words(seconds)}" if seconds >= 0 else f"{seconds_in_words(-seconds)} before"


def _safe_output(value: Any) -> Any:
    """What every `{{ … }}` of the template prints goes through; markup of our own is left as it is."""
    if value is None:
        return ""
    return value if hasattr(value, "__html__") else visible(str(value), _LONGEST)


@cache
def page_environment() -> Environment:
    """What renders the pages: every value is escaped and made visible."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, finalize=_safe_output,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters.update(_FILTERS)
    return environment


def _duration(text: str) -> str:
    return seconds_in_words(parse_duration(text).total_seconds())


def _fate(vm: VmRow) -> str:
    return _FATES[vm.fate]


def _how(kind: str) -> str:
    return _HOW[ActionKind(kind)]


def _maybe_percent(probability: float | None) -> str:
    return "unknown" if probability is None else percent(probability)


def _maybe_seconds(seconds: float | None) -> str:
    return "–" if seconds is None else seconds_in_words(seconds)


def _names(names: list[str]) -> str:
    return listed([visible(name, 60) for name in names])


_FILTERS: dict[str, Callable[..., str]] = {
    "bytes": bytes_in_words,
    "clock": moment,
    "count_of": counted,
    "duration": _duration,
    "fate": _fate,
    "few": few,
    "how": _how,
    "maybe_percent": _maybe_percent,
    "names": _names,
    "offset": _offset,
    "percent": percent,
    "seconds": _maybe_seconds,
    "silence": _silence,
}
