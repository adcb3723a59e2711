"""What a person has to know about each code: what is left in which state, what to do, and what to look at.

What a code means is the docstring of its error (models/errors.py). `lifeboat explain CODE`, docs/reference/errors.md and
docs/runbook.md are made from both.
"""

from __future__ import annotations

from dataclasses import dataclass

EXIT_CODES = {
    0: "done",
    1: "failed: the line on standard error says what, and what is left in which state",
    2: "bad input: a file, option or label is wrong; the line names it and what was expected; nothing was changed",
    3: "refused: policy, the guard, an approver or a precheck said no; nothing was changed",
    4: "needs a human: lifeboat can't tell where a vm runs; it is frozen and stays locked",
}
"""what every command ends with"""

NOTHING = "Nothing was changed."
AS_FOUND = "The vm runs where it ran; nothing was sent. Other vms of the plan go on."


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """About one code, or about a notice that is no error."""

    left: str
    """what is left in which state"""
    do: str
    means: str = ""
    """of a notice; an error says it in its docstring"""
    look: str = ""
    """with `dont` makes a section of the runbook: it calls a human"""
    dont: str = ""

    @property
    def calls_a_human(self) -> bool:
        """It has a section in the runbook."""
        return bool(self.look)


EXPLANATIONS = {
    "indeterminate": Explanation(
        left="The vm is frozen, locked and left alone until a human has looked; other vms go on.",
        look="`lifeboat status` names the vm and both ends; then `virsh list --all` on both nodes.",
        do="bring the silent node back, or make sure that it is off. If the vm runs on both, stop one copy by "
        "hand. Then `lifeboat resume`, and `lifeboat status` says whether it is still locked.",
        dont="start the vm anywhere by hand while the other end may still run it.",
    ),
    "halted": Explanation(
        left="The file `STOP` is in the state folder. What moved when it came was seen to its end.",
        look="who put it there, and why; `lifeboat status`.",
        do="remove the file once the reason is gone.",
        dont="expect it to stop agents on other hosts: the breaker does that.",
    ),
    "breaker": Explanation(
        means="A cap for a day was reached, or a storm lasted.",
        left="Nothing moves, over restarts too, until a person has looked.",
        look="`lifeboat breaker` says what tripped it; `lifeboat hindsight` what the last decisions came to.",
        do="mend the cause, then `lifeboat breaker reset --why TEXT`.",
        dont="reset it before the cause is known: it holds for plans made by hand, too, and the caps count anew "
        "from the reset.",
    ),
    "storm": Explanation(
        means="More nodes look risky at once than `storm.max_risky_fraction`: the monitoring is suspect.",
        left="Nothing is moved. If it lasts, the breaker trips.",
        look="`lifeboat assess`: is it one signal or one exporter everywhere? `lifeboat doctor`.",
        do="mend the monitoring; or, if it is true (cooling, power), move vms by name: `lifeboat plan NODE`.",
        dont="raise the fraction before you know which of the two it is.",
    ),
    "record-not-written": Explanation(
        left="What was done before is in the journal. The agent waits and goes on when it can write again.",
        look="free space in the state folder, the database, `lifeboat doctor`.",
        do="make room or bring the database back. `lifeboat status` shows what is open.",
        dont="delete the journal: it says which vms are locked and why.",
    ),
    "journal-invalid": Explanation(
        left="Nothing was decided, and nothing was changed.",
        look="`lifeboat audit verify`; which version ran last.",
        do="run the version that wrote it, or restore the journal from its backup.",
        dont="edit or remove entries.",
    ),
    "audit-broken": Explanation(
        left="The log stays as it is; nothing is mended by itself.",
        look="`lifeboat audit verify` names record, kind and time; compare with a head you kept (`--head HEAD`).",
        do="copy the state folder away before anything else, find out who wrote to it, restore from a backup.",
        dont="go on as if it were a technical fault only: it is what tampering looks like.",
    ),
    "precheck-identity": Explanation(
        left="The vm runs where it ran.",
        look="the certificate's fingerprint on the node itself, beside the one that the line names.",
        do="if it was renewed: `lifeboat doctor --repin NODE`. If not: treat it as an attack.",
        dont="repin because the move is urgent.",
    ),
    "archive-failed": Explanation(
        left="The vm is as it was found, its disks are untouched.",
        look="`lifeboat archive list`, `lifeboat archive verify ARCHIVE`; space and rights in the store.",
        do="mend the store; the next archive of the vm goes on from the segments that are whole.",
        dont="wipe a source whose archive does not verify: `lifeboat archive wipe` refuses it.",
    ),
    "lead-lost": Explanation(
        left="What moved when the lead was lost goes on in libvirt, and whoever leads settles it.",
        look="`lifeboat status` on either host; the database's reachability from this one.",
        do="nothing, if another leads. If none does, bring the database back.",
        dont="point this host at a journal of its own: two would then act on one fleet.",
    ),
    "unexpected": Explanation(
        left="It is a fault of lifeboat's own. Guests run on; libvirt does not need lifeboat for that.",
        look="the report file that the line names; `lifeboat status`.",
        do="`lifeboat resume` finishes or settles what was cut off; send the report.",
        dont="run the same command again before `status` says what is open.",
    ),
    "lifeboat": Explanation(
        left="The line says it.",
        do="What the line says.",
    ),
    "bad-input": Explanation(
        left=NOTHING,
        do="Correct what the line names. `lifeboat config check` does it for settings, `--help` for options.",
    ),
    "policy-invalid": Explanation(
        left=NOTHING + " An agent that runs keeps the policy it has.",
        do="Correct the field; docs/reference/policy.md and `lifeboat schema policy` have all of them, `lifeboat "
        "config check` tries it.",
    ),
    "fleet-invalid": Explanation(
        left=NOTHING,
        do="Correct the file; `lifeboat schema fleet` and `lifeboat schema risks` say what belongs in it.",
    ),
    "dataset-invalid": Explanation(
        left=NOTHING,
        do="Correct the table that is named; docs/forecast.md has the columns.",
    ),
    "model-invalid": Explanation(
        left="The documented limits judge alone; risks say that the model is not part of them.",
        do="Train again with `lifeboat train`, or name the key it was signed with (`forecast.trusted_key`). "
        "Don't trust a file whose signature fails.",
    ),
    "extra-missing": Explanation(
        left=NOTHING + " All that does not need the extra works.",
        do="Install the extra that the line names: docs/install.md.",
    ),
    "source": Explanation(
        left="What it would have said counts as unknown, never as healthy.",
        do="Mend what the line names; the next look asks again. `lifeboat doctor` tries every source.",
    ),
    "metrics-unavailable": Explanation(
        left="What they would have said is unknown, never healthy. What moves is seen to its end.",
        do="Check Prometheus, its clock and `prometheus.url`; `lifeboat doctor` names what fails. The agent asks "
        "again at the next look.",
    ),
    "hardware-log-unavailable": Explanation(
        left="The node is judged by its metrics; what the log would have said is unknown, and named as such.",
        do="Check the path, Loki or the BMC that is named, and the rights to read it: `lifeboat doctor`.",
    ),
    "node-unreachable": Explanation(
        left="Its vms stay where they are, and none of them is started elsewhere; moves to and from it wait or "
        "fail as found.",
        do="Look at the node (power, network, libvirtd, certificate): `lifeboat doctor`. If it is really dead, "
        "`lifeboat archive restore` brings back what was archived.",
    ),
    "node-cannot-tell": Explanation(
        left="As with a node that is silent: its vms stay where they are, and none of them is started elsewhere.",
        do="The line has libvirt's own words. Look into libvirtd's log on the node; rights are shown by "
        "`lifeboat doctor`.",
    ),
    "refused": Explanation(
        left=NOTHING,
        do="What the line says stands in the way; take it away, or let it be.",
    ),
    "plan-refused": Explanation(
        left=NOTHING,
        do="Plan again, for the fleet may be another now. If a rule of policy stands in the way: `lifeboat "
        "explain RULE` says what sets it.",
    ),
    "approval-missing": Explanation(
        left=NOTHING + " Without an answer nothing moves.",
        do="`lifeboat approvals` shows what is asked and who may answer; `lifeboat apply PLAN --propose` asks "
        "again. An approval that was voided needs a new plan: the old one is for a fleet that has changed, or "
        "too old.",
    ),
    "not-an-approver": Explanation(
        left="The question is still open.",
        do="Let somebody answer whom `approval.approvers` names; `lifeboat show EVACUATION` says who may.",
    ),
    "already-decided": Explanation(
        left="The first answer holds, and is carried out once.",
        do="`lifeboat show EVACUATION` says what came of it.",
    ),
    "busy": Explanation(
        left=NOTHING,
        do="Wait until it is done, or see `lifeboat status`: what was cut off is finished by `lifeboat resume`, "
        "and ended by `lifeboat cancel`.",
    ),
    "precheck-failed": Explanation(
        left=AS_FOUND,
        do="Mend what the line names, or plan again: the planner then takes another way.",
    ),
    "wont-converge": Explanation(
        left=AS_FOUND,
        do="Move it in a quieter hour, or let policy allow what helps: `migration.max_downtime`, auto-converge, "
        "post-copy, an archive.",
    ),
    "precheck-cpu": Explanation(
        left=AS_FOUND,
        do="Choose a target with these features, or give the vm a CPU model that all nodes have; it holds from "
        "the vm's next start.",
    ),
    "precheck-memory": Explanation(
        left=AS_FOUND,
        do="Make room or choose another target; a new plan counts what is free now.",
    ),
    "precheck-machine": Explanation(
        left=AS_FOUND,
        do="Bring QEMU on the target to the source's version, or choose another target.",
    ),
    "precheck-devices": Explanation(
        left=AS_FOUND,
        do="Detach the device, or let the vm be stopped and moved cold. `lifeboat vm check FILE.xml` names "
        "everything that ties it.",
    ),
    "precheck-disks": Explanation(
        left=AS_FOUND,
        do="Put the disk on storage that both nodes reach, or let it be copied; the line says which of its files "
        "can't be.",
    ),
    "precheck-name-taken": Explanation(
        left=AS_FOUND,
        do="Find out which copy is the right one, and undefine or rename the other by hand. Never guess: its "
        "disks may be the newer ones.",
    ),
    "precheck-port": Explanation(
        left=AS_FOUND,
        do="Check libvirtd's listener and the firewall of the target.",
    ),
    "precheck-clock": Explanation(
        left=AS_FOUND,
        do="Mend time synchronisation, there or here; `migration.max_clock_difference` says how far is too far.",
    ),
    "precheck-version": Explanation(
        left=AS_FOUND,
        do="Bring QEMU on the target up to date, choose another target, or set `migration.allow_older_target`.",
    ),
    "action-failed": Explanation(
        left="The vm is as it was found: observed, not assumed. Other vms go on.",
        do="Read what libvirt said in the line; the next plan tries again after `retry.failed_after`, or "
        "`lifeboat plan NODE` now.",
    ),
    "migration-failed": Explanation(
        left="The vm runs on its source, as it was found; the target keeps nothing of it.",
        do="Read what libvirt said in the line. The next plan tries again after `retry.failed_after`, elsewhere "
        "where it can.",
    ),
    "migration-refused": Explanation(
        left="The vm runs on its source, as it was found.",
        do="Mend what libvirt names. Until the guest or the node is another, this move is not planned again: it "
        "would be refused again.",
    ),
    "cut-off": Explanation(
        left="The vm is as it was found, or was stopped and started again there: the line says which.",
        do="Find out why lifeboat ended. The move says nothing against itself: the next plan tries it again, as "
        "often as `retry.failures` allows.",
    ),
    "planner-failed": Explanation(
        left=NOTHING + " The solver's plan takes its place and is marked as such.",
        do="Nothing, for this plan. If it lasts: `lifeboat doctor` asks the model's server, `lifeboat eval` says "
        "how well the model plans.",
    ),
    "lab": Explanation(
        left="A lab that could not be brought up was removed again; nothing else was touched.",
        do="`lifeboat lab preflight` says what is missing; `lifeboat lab down` clears away.",
    ),
}
"""by code; those that call a human in the order of the runbook"""
