"""In which order pytest's workers get the files of `--dist loadfile`: the longest first, so that none ends long after the others.

Files on the lab go to the first two workers alone, each with a lab of its own: a third lab would cost memory, its time to come
up, and processor time the others need. Every other worker has only the rest; the first two help once the lab's files are done.
"""

from __future__ import annotations

from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

LABS = 2
ELSEWHERE_ON_THE_LAB = {
    "tests/chaos/test_scenarios_lab.py",
    "tests/contract/test_exporters.py",
    "tests/contract/test_hypervisor.py",
    "tests/contract/test_metrics_source.py",
}
SECONDS = {
    "tests/chaos/test_kill.py": 110,
    "tests/chaos/test_random_schedules.py": 28,
    "tests/chaos/test_restore_and_wipe.py": 15,
    "tests/chaos/test_run_process.py": 45,
    "tests/chaos/test_scenarios_lab.py": 370,
    "tests/chaos/test_soak.py": 60,
    "tests/contract/test_hypervisor.py": 170,
    "tests/docs/test_commands_run.py": 80,
    "tests/docs/test_site.py": 30,
    "tests/evals/test_scenes.py": 26,
    "tests/lab/test_demo.py": 130,
    "tests/lab/test_lab_assess.py": 45,
    "tests/lab/test_lab_checkpoints.py": 14,
    "tests/lab/test_lab_hardware.py": 110,
    "tests/lab/test_lab_identity.py": 10,
    "tests/lab/test_lab_kill.py": 50,
    "tests/lab/test_lab_nodes.py": 80,
    "tests/lab/test_lab_nodes_crash.py": 75,
    "tests/lab/test_lab_whole_vm.py": 60,
    "tests/lab/test_least_privilege.py": 40,
    "tests/lab/test_slack_page.py": 10,
    "tests/lab/test_tutorial.py": 120,
    "tests/libvirtd/test_awkward_guests.py": 25,
    "tests/libvirtd/test_once.py": 35,
    "tests/libvirtd/test_run_process.py": 40,
    "tests/libvirtd/test_tls_howto.py": 15,
    "tests/packaging/test_deb.py": 35,
    "tests/packaging/test_wheel.py": 20,
    "tests/postgres/test_agents.py": 35,
    "tests/postgres/test_howto.py": 15,
    "tests/postgres/test_trouble.py": 30,
    "tests/property/test_approval_properties.py": 10,
    "tests/unit/agent/assess/test_retraining.py": 22,
    "tests/unit/agent/cli/test_reload.py": 15,
    "tests/unit/agent/configuration/test_effect.py": 10,
    "tests/unit/models/forecast/learned/test_tree_bounds.py": 14,
    "tests/unit/test_notebooks.py": 15,
}
"""about, on two cores; a file that is not named here takes few"""


def seconds(file: str) -> int:
    return SECONDS.get(file, 4)


def on_the_lab(file: str) -> bool:
    return file.startswith("tests/lab/") or file in ELSEWHERE_ON_THE_LAB


class LongestFirst(LoadFileScheduling):
    """A file at a time to each worker; those with a lab are done with its files first."""

    def _assign_work_unit(self, node: WorkerController) -> None:
        with_lab = node in self.nodes[:LABS]
        mine = [file for file in self.workqueue if with_lab or not on_the_lab(file)]
        if mine:
            self.workqueue.move_to_end(max(mine, key=lambda file: (on_the_lab(file), seconds(file))), last=False)
            super()._assign_work_unit(node)
        else:
            node.shutdown()
