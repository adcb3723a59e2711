"""A UUID is the same one however it is written, to whoever protects it and to whoever lists it twice."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from models.fleet import Fleet, Node, Vm, plain_uuid
from models.planning.placement import is_protected
from models.policy.policy import Policy

UUID = "7c1f0f5e-5f2c-4d51-9e0e-2d4a6b0f0001"
WRITTEN = (UUID, UUID.upper(), UUID.replace("-", ""), "{" + UUID + "}", f"urn:uuid:{UUID}")


@pytest.mark.parametrize("written", WRITTEN)
def test_a_uuid_protects_its_vm_however_it_is_written(written: str) -> None:
    vm = Vm(uuid=UUID, name="web", node="a", memory_bytes=1)
    other = Vm(uuid=UUID[:-1] + "2", name="db", node="a", memory_bytes=1)
    policy = Policy(protected=(written,))
    assert is_protected(vm, policy)
    assert not is_protected(other, policy)


@pytest.mark.parametrize("written", WRITTEN)
def test_a_fleet_has_no_vm_twice_however_its_uuid_is_written(written: str) -> None:
    vms = (Vm(uuid=UUID, name="web", node="a", memory_bytes=1), Vm(uuid=written, name="db", node="a", memory_bytes=1))
    with pytest.raises(ValidationError, match="appears twice"):
        Fleet(observed_at=datetime.now(UTC), nodes=(Node(name="a", memory_bytes=1, cpus=1),), vms=vms)


def test_what_is_no_uuid_is_left_as_it_is() -> None:
    assert [plain_uuid(text) for text in ("uuid-web", "DB-1", "", "*")] == ["uuid-web", "DB-1", "", "*"]
