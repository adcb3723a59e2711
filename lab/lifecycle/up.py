"""Bringing the lab up."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from lab.lifecycle import down
from lab.lifecycle.status import problems, status
from lab.nodes import certificates, guests, hypervisor, initramfs, network, probe, processes
from lab.nodes.node import DEFAULT_NAME, Lab, LabNode, aborted, lab_root, machine_boot_id, silent
from lab.nodes.preflight import preflight
from models.errors import LabError

Report = Callable[[str], None]
# a node's exporters and libvirtd, as a host keeps memory for itself
_RESERVED_BYTES = 512 << 20
# what one TLS stream carries between two nodes here: libvirt reported 40 to 52 MiB/s on two cores
_MIGRATION_BYTES_PER_SECOND = 45_000_000


def up(name: str = DEFAULT_NAME, report: Report = silent, *, bare: bool = False) -> Lab:
    """Bring the lab up and wait until every guest answers; `report` is given one line per step.

    `bare`: nodes and guests only, without BMCs, logs, exporters, Prometheus and lifeboat.yaml. A lab that is up is
    left as it is. When it fails, or is interrupted, what was made is removed again.
    Raises LabError: something is missing here, a step failed (with the end of its log), or an earlier `up` was cut off.
    """
    lab_root(name)  # a bad name is bad input, whatever is missing
    missing = preflight()
    if missing:
        raise LabError(f"this machine can't carry the lab: {'; '.join(str(thing) for thing in missing)}")
    with Lab.lock(name, report=report) as root:
        if any(root.iterdir()):
            lab = Lab.load(name)
            report(f"lab {name!r} is up already; nothing was changed")
            for problem in problems(status(name)):
                report(f"  but {problem}")
            return lab
        lab = Lab(name=name, root=root, index=network.choose_index(name))
        pool = ThreadPoolExecutor(max_workers=6)
        aborted.clear()
        try:
            lab.journal.add("machine", boot_id=machine_boot_id())
            lab.save()
            _bring_up(lab, report, pool, bare=bare)
        except BaseException:
            report("failed: removing what was made")
            aborted.set()
            down.stop(lab.journal)  # first: what the pool's threads wait for then fails at once
            pool.shutdown(wait=True, cancel_futures=True)
            down.remove(root, silent)
            aborted.clear()  # nothing waits any more, and another lab of this process goes on
            raise
        pool.shutdown()
        return lab


def _bring_up(lab: Lab, report: Report, pool: ThreadPoolExecutor, *, bare: bool) -> None:
    started = time.monotonic()

    def step(line: str) -> None:
        report(f"{time.monotonic() - started:5.1f} s  {line}")

    image = pool.submit(initramfs.build, lab.root / "guest")
    network.create(lab)
    lab.save()
    step(f"{len(lab.nodes)} nodes: {', '.join(f'{node.name} {node.address}' for node in lab.nodes.values())}")
    disks = [pool.submit(guests.create_disk, lab, guest) for guest in guests.GUESTS]
    hardware = None if bare else pool.submit(_start_hardware, lab)
    certificates.create(lab)
    hypervisor.shared_pool(lab).mkdir(exist_ok=True)
    first, *others = lab.nodes.values()
    _start_libvirt(lab, first, None)
    boot_image = image.result()
    hypervisor.probe_emulator(lab, first, boot_image.emulator)
    _wait(disks)
    hypervisor.start_storage_server(lab, _shared_disks(lab))
    _wait([pool.submit(_start_libvirt, lab, node, first) for node in others])
    step("libvirtd with TLS, storage pools, shared storage and a guest kernel on every node")
    telemetry = None if bare else pool.submit(_start_telemetry, lab)
    _wait([pool.submit(guests.define_and_start, lab, node, boot_image) for node in lab.nodes])
    step(f"{len(guests.GUESTS)} guests started, waiting until each answers")
    _wait_answers(lab, step)
    if hardware and telemetry:
        _wait([hardware])
        step("hardware: a BMC and collected logs per node")
        _wait([telemetry])
        step("telemetry: exporters and Prometheus")
        write_settings(lab)
    lab.journal.add("up", at=time.time())
    step(f"lab {lab.name!r} is up: {lab.config_path}")


def _wait(futures: list[Future[Any]]) -> None:
    for future in futures:
        future.result()


def _shared_disks(lab: Lab) -> list[tuple[str, Path]]:
    return [(guest.name, guests.disk_path(lab, guest)) for guest in guests.GUESTS if guest.storage == "shared"]


def _start_libvirt(lab: Lab, node: LabNode, like: LabNode | None) -> None:
    if like:
        hypervisor.copy_capabilities(like, node)
    hypervisor.start_libvirtd(lab, node)
    hypervisor.wait_ready(lab, node)
    hypervisor.create_pools(lab, node)


def _wait_answers(lab: Lab, step: Report, seconds: float = 180) -> None:
    by_target = {guests.probe_target(lab, guest): guest for guest in guests.GUESTS}
    answers = probe.ask_all(list(by_target), seconds=seconds)
    silent = [guest for target, guest in by_target.items() if answers[target] is None]
    if silent:
        first = silent[0]
        console = lab.node(first.node).run_dir / f"fs/var/log/libvirt/qemu/{first.name}-console.log"
        raise LabError(
            f"{', '.join(guest.name for guest in silent)} did not answer within {seconds:.0f} s",
            hint=f"the end of {first.name}'s console: {processes.tail(console)}",
        )
    step("every guest answers")


def _start_hardware(lab: Lab) -> None:
    from lab.hardware import machine as hardware

    hardware.start(lab)


def _start_telemetry(lab: Lab) -> None:
    from lab.hardware import telemetry

    telemetry.start(lab)


def write_settings(lab: Lab) -> None:
    """Write the lifeboat.yaml that points lifeboat at this lab."""
    from lab.hardware import machine as hardware
    from lab.hardware import telemetry

    archives = lab.root / "archives"
    archives.mkdir(exist_ok=True)
    settings = {
        "prometheus": telemetry.settings(lab),
        "nodes": [
            {
                "name": node.name,
                "libvirt_uri": hypervisor.uri(lab, node.name),
                "migration_uri": hypervisor.uri(lab, node.name, pkipath=False),
                **hardware.settings(lab, node),
                "failure_domain": f"rack-{number}",
                "memory_reserved_bytes": _RESERVED_BYTES,
                "migration_bytes_per_second": _MIGRATION_BYTES_PER_SECOND,
            }
            for number, node in enumerate(lab.nodes.values(), start=1)
        ],
        "archive_url": archives.as_uri(),
        "state_dir": str(lab.root / "state"),
    }
    lab.config_path.write_text(
        f"# Written by `lifeboat lab up`: the lab {lab.name!r}, three libvirt nodes with simulated hardware.\n"
        + yaml.safe_dump(settings, sort_keys=False)
    )
