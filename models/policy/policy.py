"""Policy: what the operator allows (`policy.yaml`). Every field has a careful default; an empty file is a policy."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Any, Self, cast

from pydantic import Field, IPvAnyNetwork, model_validator

from models.base import Duration, Value, parse_duration
from models.fleet import Priority
from models.policy.approvers import ApproverRule, Identity, TwoPeoplePolicy, UnansweredRule
from models.policy.brake import ChurnPolicy, StormPolicy
from models.policy.ladder import DEFAULT_LADDER, Rung
from models.policy.language_model import LanguageModelPolicy
from models.policy.leisure import IdlePolicy, RebalancePolicy
from models.policy.wait import WaitPolicy
from models.storage_layout import StoragePolicy


class TriggerPolicy(Value):
    """When a node is evacuated."""

    horizon: Duration = Field(default=parse_duration("2h"), gt=timedelta(0))
    """how far ahead; also the window over which expected loss is counted"""
    probability: float = Field(default=0.5, gt=0, le=1)
    """evacuate when P(fails within horizon) reaches this: what an unneeded evacuation costs, as a share of what losing the
    node's vms would cost"""


class DrainPolicy(Value):
    """When what can move live leaves a node at leisure, long before it has to be evacuated."""

    act: bool = False
    """whether the background agent drains by itself; otherwise it says that a drain is worth it, and a person plans it"""
    horizon: Duration = Field(default=parse_duration("24h"), gt=timedelta(0))
    """how far ahead"""
    price: float = Field(default=0.25, gt=0, le=1)
    """what moving a vm live for nothing costs, as a share of what losing it costs"""
    effort: float = Field(default=1.0, ge=0)
    """what any drain costs besides, in the unit of `weights`: a node with little on it is not worth it"""


class TierPolicy(Value):
    """How long a tier is held: watch, cordon, drain, evacuate."""

    release: float = Field(default=0.5, gt=0, le=1)
    """a tier is left below this share of the probability at which it is entered"""
    dwell: Duration = Field(default=parse_duration("10m"), ge=timedelta(0))
    """a tier is left only after nothing upheld it for this long"""


class TargetPolicy(Value):
    """Where vms may go."""

    max_probability: float = Field(default=0.1, ge=0, le=1)
    """a node whose own P(fails within the trigger's horizon) is above this takes no vm"""
    memory_headroom: float = Field(default=0.05, ge=0, lt=1)
    """share of a target's vm memory that stays free after every move"""
    avoid_same_failure_domain: bool = True
    """prefer targets that share no failure domain with the source; a preference, never a refusal"""
    count_stopped_vms: bool = True
    """a stopped vm defined on a target holds its memory and vcpus there: it may be started at any time"""
    cpu_models: dict[str, tuple[str, ...]] = Field(default={})
    """source's CPU model → other CPU models its vms may also move to; the same model always may"""


class LimitPolicy(Value):
    """How much may move at once."""

    outbound_per_node: int = Field(default=2, ge=1)
    """archives count too: they load the same disks"""
    inbound_per_node: int = Field(default=2, ge=1)
    per_link: int = Field(default=2, ge=1)
    """between one pair of nodes"""
    per_fleet: int = Field(default=8, ge=1)
    archives_per_node: int = Field(default=1, ge=1)
    evacuation_timeout: Duration | None = Field(default=None, gt=timedelta(0))
    """counted from its start, pauses and crashes included: past it an evacuation begins no action, and what runs
    finishes within the limits of its own kind; None: none"""


class MakeRoomPolicy(Value):
    """Whether vms of sound nodes move so that vms of a failing one find room. Live, and nothing else."""

    max_moves: int = Field(default=8, ge=0)
    """in one plan; 0: the vms of sound nodes are left where they are"""


class DataPolicy(Value):
    max_age: Duration = Field(default=parse_duration("5m"), gt=timedelta(0))
    """older telemetry is unknown: it neither triggers an evacuation nor makes a node a target"""


class Ceiling(StrEnum):
    """How far a risk may go whose learned part does not fit what it sees."""

    CORDON = "cordon"
    """it keeps vms from coming to the node, no more"""
    DRAIN = "drain"
    """it may have what moves live leave, too"""
    EVACUATE = "evacuate"
    """it counts in full"""


class ForecastPolicy(Value):
    """How far a learned forecast is believed."""

    misfit_ceiling: Ceiling = Ceiling.CORDON
    """a learned forecast that does not fit what it sees warrants no tier above this by itself; what documented limits
    warrant stays. There is no lower one: a doubtful forecast is still no reason to send vms there"""


class ApprovalMode(StrEnum):
    AUTO = "auto"
    """policy is the approval"""
    ASK = "ask"
    """a human agrees first"""


class Drift(StrEnum):
    """What may change between question and act without voiding the plan."""

    ELSEWHERE = "elsewhere"
    """nodes that it neither leaves nor fills, and their vms"""
    NONE = "none"
    """nothing in the whole fleet"""


class ApprovalPolicy(Value):
    """What a human must agree to."""

    live_migrate: ApprovalMode = ApprovalMode.ASK
    cold_migrate: ApprovalMode = ApprovalMode.ASK
    cold_archive: ApprovalMode = ApprovalMode.ASK
    expires_after: Duration = Field(default=parse_duration("15m"), gt=timedelta(0))
    """how long a question stands, and how long an agreement holds; half of it without an answer wakes the next to ask"""
    max_auto_vms: int = Field(default=20, ge=0)
    """a plan that moves more vms always asks"""
    people: dict[str, tuple[Identity, ...]] = Field(default={})
    """person → how they are known here and there, so that one person is never counted as two"""
    groups: dict[str, tuple[str, ...]] = Field(default={})
    """group → people"""
    approvers: tuple[ApproverRule, ...] = ()
    """who may answer what `lifeboat run` asks; empty: nobody may"""
    two_people: TwoPeoplePolicy = TwoPeoplePolicy()
    unanswered: tuple[UnansweredRule, ...] = ()
    """what goes ahead when nobody answers in time; empty: silence is no"""
    longest_snooze: Duration = parse_duration("1h")
    """how far off a question may be put; it is asked again then"""
    tolerated_drift: Drift = Drift.ELSEWHERE

    @model_validator(mode="after")
    def _names_known_people(self) -> Self:
        known: dict[str, str] = {}
        for person, identities in self.people.items():
            for identity in identities:
                if known.setdefault(identity, person) != person:
                    raise ValueError(f"{identity} is both {known[identity]} and {person}: one person counts once")
        both = sorted(self.people.keys() & self.groups.keys())
        if both:
            raise ValueError(f"{both[0]!r} is a person and a group: name them apart")
        for group, members in self.groups.items():
            for member in members:
                if member not in self.people:
                    raise ValueError(f"group {group!r} names {member!r}, who is not in people")
        for rule in self.approvers:
            for name in (*rule.may, *rule.then):
                if name not in self.people and name not in self.groups:
                    raise ValueError(f"approvers name {name!r}, which is neither in people nor in groups")
        return self


class Compression(StrEnum):
    """How guest memory is made smaller on its way."""

    NONE = "none"
    XBZRLE = "xbzrle"
    """only what changed in a page that was sent before; for one stream"""
    ZLIB = "zlib"
    ZSTD = "zstd"
    """about 3.6 times fewer bytes for 0.4 of a core per stream; over parallel connections, and libvirt ≥ 9.4 on the source"""


class OldDisks(StrEnum):
    KEEP = "keep"
    """the source's copy of a disk that moved along stays, and the report names it"""
    DELETE = "delete"
    """it is removed once the vm was observed on the target, with this disk there"""


class PinRule(StrEnum):
    """What the certificate fingerprints recorded by `lifeboat doctor --pin` are held for. Needs tls_required."""

    REQUIRED = "required"
    """no move to a node without a pin"""
    FIRST_USE = "first-use"
    """the first certificate that holds (CA, name, dates) is pinned; another one stops every later move"""
    OFF = "off"
    """CA, name and dates alone"""


class MigrationPolicy(Value):
    tls_required: bool = True
    pins: PinRule = PinRule.FIRST_USE
    allow_older_target: bool = False
    """let a vm move to a node whose QEMU is older (by its first two numbers): what newer QEMU sends, it may not read"""
    max_clock_difference: Duration = Field(default=parse_duration("5s"), gt=timedelta(0))
    """between the target and lifeboat, where it can be told; a vm's clock jumps by what the nodes differ"""
    max_downtime: Duration = Field(default=parse_duration("300ms"), gt=timedelta(0))
    """a live migration expected to pause the vm longer is not planned, and none is let pause it longer, the ladder's last
    downtime step aside"""
    last_downtime: Duration = Field(default=parse_duration("500ms"), gt=timedelta(0))
    """how far the ladder's last downtime step may go; max_downtime where a policy sets that and not this. Less than
    max_downtime counts as max_downtime"""
    switchover_allowance: Duration = Field(default=parse_duration("100ms"), ge=timedelta(0))
    """what switching over takes besides the last round of memory. QEMU's limit is on the last round alone, so it is told
    the allowed pause less this, and at least a tenth of the pause"""
    timeout: Duration = Field(default=parse_duration("15m"), gt=timedelta(0))
    """one attempt; past this it is aborted and the vm stays where it is (with post_copy, it is switched to post-copy)"""
    stuck_after: Duration = Field(default=parse_duration("60s"), gt=timedelta(0))
    """a migration that was seen to send nothing at all for this long is aborted, whatever the ladder says"""
    parallel_connections: int = Field(default=0, ge=0, le=16)
    """0: one stream"""
    compression: Compression = Compression.NONE
    """zlib and zstd go with parallel_connections, xbzrle without"""
    auto_converge: bool = True
    """let QEMU slow the guest when it dirties memory faster than the link carries it"""
    post_copy: bool = False
    """a point of no return; off unless you say so"""
    suspend: bool = False
    """let the ladder pause the guest until everything is sent, however long that takes"""
    bandwidth_bytes_per_second: int | None = Field(default=None, gt=0)
    """cap of one stream; None: none"""
    ladder: tuple[Rung, ...] = DEFAULT_LADDER
    """what is done, and when, for a migration that does not come to its end by itself"""
    dirty_probe: Duration = Field(default=parse_duration("1s"), ge=timedelta(0), le=timedelta(seconds=60))
    """how long the dirty rate is measured before a move that would take ten times as long or more; `0s`: never"""
    probe_max_risk: float = Field(default=0.2, ge=0, le=1)
    """the probe is skipped when the node is likelier than this to fail before the vm is safe: no time to lose"""
    old_disks: OldDisks = OldDisks.KEEP
    with_io_error: bool = False
    """let a guest that an error of its disks paused move live, paused as it is: its disks may work at the target"""
    ask_qemu: bool = True
    """ask QEMU what keeps the guests of a node from moving live, once the node is about to be left. libvirt marks a guest that
    was asked so as tainted (custom-monitor)"""

    @model_validator(mode="before")
    @classmethod
    def _a_cap_caps_every_step(cls, given: Any) -> Any:
        """Who sets how long a vm may stand still means it: the last step passes that only where it is let to by name."""
        if not isinstance(given, dict) or "max_downtime" not in given or "last_downtime" in given:
            return cast("Any", given)
        return {**cast("dict[str, Any]", given), "last_downtime": given["max_downtime"]}

    @model_validator(mode="after")
    def _compression_fits_the_streams(self) -> Self:
        multi = self.parallel_connections > 0
        if self.compression in (Compression.ZLIB, Compression.ZSTD) and not multi:
            raise ValueError(f"compression {self.compression} needs parallel_connections, 1 or more")
        if self.compression is Compression.XBZRLE and multi:
            raise ValueError("compression xbzrle works on one stream: set parallel_connections to 0")
        return self


class ColdMigratePolicy(Value):
    """Which vms may be moved while they are stopped."""

    priorities: tuple[Priority, ...] = (Priority.HIGH, Priority.NORMAL, Priority.LOW)
    """running vms that may be stopped for it when they can't move live; empty: none"""
    stopped_vms: bool = True
    """vms found shut off move too; they stay shut off"""
    other_cpu_model: bool = False
    """a stopped vm may start on a node of another CPU model"""


class SourceRelease(StrEnum):
    KEEP = "keep"
    """the stopped vm and its disks stay on the source after the archive is verified"""
    UNDEFINE = "undefine"
    """the definition goes, the disks stay"""


class ArchivePolicy(Value):
    priorities: tuple[Priority, ...] = (Priority.LOW,)
    """who may be archived cold"""
    allow_without_label: bool = False
    """archive a vm whose owner said neither yes nor no"""
    shutdown_timeout: Duration = Field(default=parse_duration("60s"), gt=timedelta(0))
    """how long a guest may take to stop by itself"""
    force_off: bool = False
    """pull its plug after that; otherwise the action fails and the vm goes on running"""
    release_source: SourceRelease = SourceRelease.KEEP


class RetryPolicy(Value):
    """When a move that came to nothing is planned again."""

    refused_after: Duration = Field(default=parse_duration("6h"), ge=timedelta(0))
    """one that libvirt, QEMU or a check refused for a reason that does not pass by itself; sooner when the guest is started
    anew or its definition changes"""
    failures: int = Field(default=2, ge=1)
    """one that failed so often is left alone for a while; one that stopped its guest for nothing, at once, unless it was lifeboat
    itself that ended in the middle"""
    failed_after: Duration = Field(default=parse_duration("30m"), ge=timedelta(0))
    """for how long"""


class Label(StrEnum):
    """What a vm's owner may say of it in its label."""

    PRIORITY = "priority"
    WORKLOAD = "workload"
    ANTI_AFFINITY_GROUP = "anti-affinity-group"
    COLD_ARCHIVE = "cold-archive"
    PROBE = "probe"


class LabelPolicy(Value):
    """How far labels are believed: whoever may edit a vm's metadata writes them."""

    believed: tuple[Label, ...] = tuple(Label)
    """the others are left aside, as if they were not there"""
    highest_priority: Priority = Priority.HIGH
    """a label that claims more counts as this"""
    probe_networks: tuple[IPvAnyNetwork, ...] = ()
    """a `probe` is asked only at addresses in these, such as `10.0.0.0/8`; empty: none is asked, since a label could
    otherwise make lifeboat knock anywhere in its own network"""


class Weights(Value):
    """What losing one vm of each priority costs, relative to the others."""

    high: float = Field(default=100.0, ge=0, le=1_000_000)
    normal: float = Field(default=10.0, ge=0, le=1_000_000)
    low: float = Field(default=1.0, ge=0, le=1_000_000)

    def of(self, priority: Priority) -> float:
        return {Priority.HIGH: self.high, Priority.NORMAL: self.normal, Priority.LOW: self.low}[priority]


class StoppingPolicy(Value):
    """What it takes to stop a guest for the sake of a node."""

    witnesses: int = Field(default=2, ge=1, le=4)
    """ways by which word of the fault comes (BMC's metrics, host's metrics, SEL, host's log) that each speak against the node;
    with fewer a person agrees first, and what can move live goes meanwhile. 1: whatever empties the node stops guests, too"""


class Autonomy(StrEnum):
    """What the background agent does with a plan that passed the guard."""

    ACT = "act"
    """carries it out, once whoever policy names has agreed"""
    SHADOW = "shadow"
    """writes down what it would have done; `lifeboat hindsight` says how right that was"""


class Policy(Value):
    """What the operator allows."""

    autonomy: Autonomy = Autonomy.ACT
    """`shadow`: the background agent moves nothing. What a person applies is carried out all the same"""
    trigger: TriggerPolicy = TriggerPolicy()
    drain: DrainPolicy = DrainPolicy()
    tiers: TierPolicy = TierPolicy()
    target: TargetPolicy = TargetPolicy()
    make_room: MakeRoomPolicy = MakeRoomPolicy()
    limits: LimitPolicy = LimitPolicy()
    storm: StormPolicy = StormPolicy()
    churn: ChurnPolicy = ChurnPolicy()
    data: DataPolicy = DataPolicy()
    forecast: ForecastPolicy = ForecastPolicy()
    storage: StoragePolicy = StoragePolicy()
    approval: ApprovalPolicy = ApprovalPolicy()
    migration: MigrationPolicy = MigrationPolicy()
    cold_migrate: ColdMigratePolicy = ColdMigratePolicy()
    archive: ArchivePolicy = ArchivePolicy()
    stopping: StoppingPolicy = StoppingPolicy()
    rebalance: RebalancePolicy = RebalancePolicy()
    idle: IdlePolicy = IdlePolicy()
    retry: RetryPolicy = RetryPolicy()
    wait: WaitPolicy = WaitPolicy()
    labels: LabelPolicy = LabelPolicy()
    language_model: LanguageModelPolicy = LanguageModelPolicy()
    weights: Weights = Weights()
    protected: tuple[str, ...] = ()
    """vm names or uuids lifeboat never touches; `*` stands for any run of characters"""
    cooldown: Duration = parse_duration("30m")
    """after an evacuation that left nothing on a node to move, or that a person turned down, none of the same node is started by
    the background agent for this long"""
