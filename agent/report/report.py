"""What a report holds: one value, made once, that the terminal, the page and `--json` all show the same."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from models.base import UtcTime, Value
from models.evacuation import ArchiveFacts, AttemptOutcome, EvacuationOutcome, Evidence, Measured
from models.fleet import NodeState, Priority, VmState
from models.plan import ActionKind, Approval, AtLeisure, NextFailure, RuleResult
from models.planning.simulation import Simulation
from models.risk.risk import Driver
from models.risk.risk_level import RiskLevel


class ReportKind(StrEnum):
    DRY_RUN = "dry_run"
    """a plan that nobody has carried out: nothing was changed"""
    EVACUATION = "evacuation"


class Tone(StrEnum):
    """How the page and the terminal colour their first line."""

    CALM = "calm"
    """nothing to do"""
    READY = "ready"
    """a plan that passed and waits"""
    GOOD = "good"
    WARN = "warn"
    """done in part, refused, or with facts that don't fit"""
    BAD = "bad"
    """vms lost, or their state unknown"""


class Fate(StrEnum):
    """What became of one vm, or would by the plan."""

    MOVED = "moved"
    """observed running on its target"""
    ARCHIVED = "archived"
    """stopped; its archive was read back and matched"""
    PLANNED = "planned"
    """dry run, or its turn has not come yet"""
    MOVING = "moving"
    UNTOUCHED = "untouched"
    """still on the node it was on, by plan or because its move did not work"""
    GONE_BEFORE = "gone_before"
    """no longer there when its turn came"""
    LOST = "lost"
    """was on a node when that node stopped answering"""
    INDETERMINATE = "indeterminate"
    """nobody knows where it runs: it needs a human"""


SAFE_FATES = frozenset({Fate.MOVED, Fate.ARCHIVED})


class NodeRow(Value):
    """One node, before and after."""

    name: str
    state: NodeState
    evacuating: bool
    lost: bool
    """stopped answering for good"""
    probability: dict[str, float]
    """horizon → P(fails within it); empty when there is no risk for this node"""
    at_trigger_horizon: float | None
    """P(fails within the policy's trigger horizon); None when unknown"""
    level: RiskLevel | None = None
    """as the policy sees its risk; None in reports written before it was kept"""
    unknown_why: str
    """why its risk is unknown; empty when it is known"""
    drivers: tuple[Driver, ...]
    data_age_seconds: float | None
    memory_bytes: int = Field(ge=0)
    """what vms may use in all"""
    used_before_bytes: int = Field(ge=0)
    used_after_bytes: int | None
    """None when nobody checked afterwards"""


class VmRow(Value):
    """One vm: what was planned for it, what was measured, where it is."""

    uuid: str
    name: str
    priority: Priority
    workload: str
    memory_bytes: int = Field(ge=0)
    state_before: VmState
    node_before: str
    node_after: str | None
    """where it was observed afterwards, or is to be by the plan; None: in an archive, or not known"""
    state_after: VmState | None
    """None when not known, or in a dry run"""
    planned: ActionKind | None
    """None: the plan has no action for it"""
    target: str | None
    reason: str
    wave: int
    not_before: UtcTime | None = None
    """it waits for a better time"""
    estimated_start_seconds: float
    estimated_seconds: float
    estimated_downtime_seconds: float
    started_seconds: float | None
    """from the start of the evacuation; None: never tried"""
    measured: Measured
    outcome: AttemptOutcome | None
    tries: int
    message: str
    error_code: str | None
    archive: ArchiveFacts | None
    evidence: tuple[Evidence, ...]
    fate: Fate
    loss_if_nothing: float | None
    """P(its node fails within the policy's trigger horizon); None when unknown"""
    loss_with_plan: float | None
    """P(its node fails before it is safe); None when unknown"""
    concerned: bool
    """on a node that is being emptied, or has an action of its own"""


class MomentKind(StrEnum):
    TRIGGER = "trigger"
    PLAN = "plan"
    APPROVAL = "approval"
    FIRST_MOVE = "first_move"
    ALL_SAFE = "all_safe"
    NODE_LOST = "node_lost"
    END = "end"


class Moment(Value):
    """One step on the way, with its time."""

    kind: MomentKind
    time: UtcTime
    label: str
    since_trigger_seconds: float | None
    """None when the trigger's own moment is not known"""


class RiskPoint(Value):
    time: UtcTime
    probability: float = Field(ge=0, le=1)
    """P(fails within the trigger horizon) as assessed then"""


class RiskLine(Value):
    """How one node's risk ran."""

    node: str
    evacuating: bool
    points: tuple[RiskPoint, ...]


class Trigger(Value):
    horizon: str
    """as policy writes it: `2h`"""
    horizon_seconds: float
    probability: float


class Loss(Value):
    """What doing nothing would have cost, beside the plan. Estimates, from the forecast."""

    vms_if_nothing: float
    """expected number of vms lost over the trigger horizon, with every vm left where it is"""
    vms_with_plan: float
    weighted_if_nothing: float
    """the plan's own figure: each vm counts with its priority's weight"""
    weighted_with_plan: float
    weighted_bound: float | None = None
    """no plan is expected to lose less; None when nobody worked it out"""
    gap: float | None = None
    """share of `weighted_with_plan` above the bound"""
    horizon: str
    unknown_vms: int
    """vms on nodes whose risk is unknown: in neither figure"""


class Totals(Value):
    """The vms of the nodes being emptied, and every other vm the plan acts on, counted."""

    concerned: int
    safe: int
    moved: int
    archived: int
    lost: int
    untouched: int
    indeterminate: int
    waiting: int
    """planned, or moving now"""


class ProvenanceRow(Value):
    what: str
    value: str


class Report(Value):
    """One evacuation, or one plan, as people and machines read it. Names from outside are verbatim here; showing them
    harmlessly is the renderers' work."""

    kind: ReportKind
    tone: Tone
    decision: str = ""
    """what the reader has to decide or do, before anything else; empty in reports written before there was one"""
    headline: str
    """one sentence"""
    lead: str
    """what else to know at once: one to three sentences"""
    generated_at: UtcTime
    simulated_marks: tuple[str, ...]
    """what in this report is simulated or synthetic; empty when all of it is real"""
    alerts: tuple[str, ...]
    """what needs a human, most urgent first"""
    evacuation_id: str | None
    outcome: EvacuationOutcome | None
    evacuating: tuple[str, ...]
    returning: tuple[str, ...] = ()
    """nodes that get their vms back"""
    at_leisure: AtLeisure | None = None
    """what the plan is for, where nothing forces it"""
    trigger: Trigger
    totals: Totals
    seconds_to_safety: float | None
    """from the start until the last planned move was done; for a dry run, as estimated"""
    longest_blackout_seconds: float | None
    """longest silence of a live-migrated vm: seen by a probe, else as the hypervisor measured it"""
    longest_blackout_from: str
    """`probe` or `hypervisor`; empty when neither measured"""
    nodes: tuple[NodeRow, ...]
    vms: tuple[VmRow, ...]
    """those concerned first, in the plan's order; of a fleet of more than 5,000 vms only those on nodes that take part"""
    risk_lines: tuple[RiskLine, ...]
    moments: tuple[Moment, ...]
    started_at: UtcTime | None
    ended_at: UtcTime | None
    loss: Loss
    next_failure: NextFailure | None = None
    """which next node failure the fleet would survive, by the plan; None when nobody worked it out"""
    beside_solver: tuple[str, ...] = ()
    """a language model's plan beside the solver's: both losses, then where they differ and why, one line each"""
    simulation: Simulation | None = None
    """the plan in many imagined futures; None when nobody asked for it"""
    rules: tuple[RuleResult, ...]
    passed: bool | None
    """None: the plan was not judged"""
    approval: Approval | None
    approval_why: str
    approved_by: str
    unknowns: tuple[str, ...]
    """what could not be known, one line each"""
    notes: tuple[str, ...]
    provenance: tuple[ProvenanceRow, ...]

    @property
    def simulated(self) -> bool:
        return bool(self.simulated_marks)

    @property
    def concerned(self) -> tuple[VmRow, ...]:
        return tuple(vm for vm in self.vms if vm.concerned)

    @property
    def archived(self) -> tuple[VmRow, ...]:
        """Every vm that has an archive, verified or not."""
        return tuple(vm for vm in self.vms if vm.archive is not None)
