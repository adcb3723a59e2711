"""What a Grafana dashboard may hold, as far as ours goes: no field that Grafana does not know, and for each the values it takes.

After Grafana's published schemas: the dashboard kind (kinds/dashboard/dashboard_kind.cue), the common options of panels
(packages/grafana-schema/src/common) and those of the panels `stat` and `timeseries` (their panelcfg.cue).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

Unit = Literal["none", "s", "bytes", "percentunit", "short"]
"""ids of packages/grafana-data/src/valueFormats, of which a dashboard takes any text and shows an unknown one as a suffix"""
Colour = Literal["green", "orange", "red", "text"]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, alias_generator=to_camel)


class DataSource(Strict):
    type: Literal["prometheus"]
    uid: Literal["${prometheus}"]


class Cell(Strict):
    x: Annotated[int, Field(ge=0, lt=24)]
    y: Annotated[int, Field(ge=0)]
    w: Annotated[int, Field(gt=0, le=24)]
    h: Annotated[int, Field(gt=0)]


class Step(Strict):
    color: Colour
    value: float | None
    """None: from minus infinity, which only the first may be"""


class Thresholds(Strict):
    mode: Literal["absolute", "percentage"]
    steps: Annotated[list[Step], Field(min_length=1)]


class MappedTo(Strict):
    text: str
    color: Colour | None = None
    index: int


class ValueMap(Strict):
    type: Literal["value"]
    options: dict[str, MappedTo]


class ColourMode(Strict):
    mode: Literal["thresholds", "palette-classic"]


class Stacking(Strict):
    mode: Literal["none", "normal", "percent"]
    group: str


class Drawn(Strict):
    draw_style: Literal["line", "bars", "points"]
    line_width: int
    fill_opacity: int
    show_points: Literal["auto", "never", "always"]
    span_nulls: bool
    stacking: Stacking


class Defaults(Strict):
    unit: Unit
    min: float | None = None
    color: ColourMode
    mappings: list[ValueMap]
    thresholds: Thresholds
    custom: Drawn | None = None


class FieldConfig(Strict):
    defaults: Defaults
    overrides: Annotated[list[object], Field(max_length=0)]


class Target(Strict):
    ref_id: Annotated[str, Field(pattern="^[A-Z]$")]
    datasource: DataSource
    editor_mode: Literal["code", "builder"]
    expr: str
    legend_format: str
    instant: bool
    range: bool


class Reduced(Strict):
    calcs: Annotated[list[Literal["lastNotNull"]], Field(min_length=1)]
    fields: str
    values: bool


class StatOptions(Strict):
    color_mode: Literal["value", "background", "background_solid", "none"]
    graph_mode: Literal["none", "line", "area"]
    justify_mode: Literal["auto", "center"]
    orientation: Literal["auto", "vertical", "horizontal"]
    text_mode: Literal["auto", "value", "value_and_name", "name", "none"]
    reduce_options: Reduced


class Legend(Strict):
    display_mode: Literal["list", "table", "hidden"]
    placement: Literal["bottom", "right"]
    show_legend: bool
    calcs: list[str]


class Tooltip(Strict):
    mode: Literal["single", "multi", "none"]
    sort: Literal["asc", "desc", "none"]


class LineOptions(Strict):
    legend: Legend
    tooltip: Tooltip


class Panel(Strict):
    id: Annotated[int, Field(gt=0)]
    title: Annotated[str, Field(min_length=1)]
    description: Annotated[str, Field(min_length=1)]
    grid_pos: Cell
    datasource: DataSource
    transparent: bool
    transformations: Annotated[list[object], Field(max_length=0)]
    field_config: FieldConfig
    targets: Annotated[list[Target], Field(min_length=1)]


class StatPanel(Panel):
    type: Literal["stat"]
    options: StatOptions


class LinePanel(Panel):
    type: Literal["timeseries"]
    options: LineOptions


class Chosen(Strict):
    selected: bool | None = None
    text: str | list[str] | None = None
    value: str | list[str] | None = None


class Variable(Strict):
    name: Annotated[str, Field(pattern=r"^\w+$")]
    label: str
    hide: Literal[0, 1, 2]
    skip_url_sync: bool
    query: str
    refresh: Literal[0, 1, 2]
    """never, when the dashboard is loaded, when its time range changes"""
    regex: str
    multi: bool
    include_all: bool
    options: Annotated[list[object], Field(max_length=0)]
    current: Chosen


class SourceVariable(Variable):
    type: Literal["datasource"]


class QueryVariable(Variable):
    type: Literal["query"]
    datasource: DataSource
    definition: str
    sort: Literal[0, 1, 2, 3, 4, 5, 6]
    all_value: str | None = None


class Templating(Strict):
    variables: list[Annotated[SourceVariable | QueryVariable, Field(discriminator="type")]] = Field(alias="list")


class Nothing(Strict):
    entries: Annotated[list[object], Field(max_length=0, alias="list")]


class Times(Strict):
    start: Annotated[str, Field(alias="from")]
    to: str


class Empty(Strict):
    pass


class Dashboard(Strict):
    id: None
    uid: Annotated[str, Field(pattern=r"^[\w-]{1,40}$")]
    title: str
    description: str
    tags: list[str]
    schema_version: Literal[39]
    """a newer Grafana migrates it when it is opened"""
    version: int
    editable: bool
    graph_tooltip: Literal[0, 1, 2]
    fiscal_year_start_month: Annotated[int, Field(ge=0, lt=12)]
    timezone: Literal["utc", "browser"]
    refresh: Annotated[str, Field(pattern=r"^\d+[smhd]$")]
    time: Times
    timepicker: Empty
    annotations: Nothing
    links: Annotated[list[object], Field(max_length=0)]
    templating: Templating
    panels: list[Annotated[StatPanel | LinePanel, Field(discriminator="type")]]
