"""What is handed to strangers names nobody, and still says which part it is."""

from __future__ import annotations

import pytest

from tools.redaction import Redactor


@pytest.fixture
def redactor() -> Redactor:
    return Redactor(["prod-kvm-07.corp.example", "prod-kvm-08.corp.example"], guests=["customer-db"])


@pytest.mark.parametrize(
    "secret",
    [
        "prod-kvm-07", "prod-kvm-07.corp.example", "PROD-KVM-07", "customer-db", "10.1.2.3", "2001:db8::17", "fe80:0:0:0:1:2:3:4",
        "52:54:00:ab:cd:ef", "4c4c4544-0035-3010-8058-b3c04f4e3632", "iqn.2001-04.com.corp:store1", "5000c500a1b2c3d4",
        "ops@corp.example",
    ],
)  # fmt: skip
def test_names_and_addresses_are_replaced(redactor: Redactor, secret: str) -> None:
    told = redactor.text(f"link to {secret} lost, {secret} again")
    assert secret.lower() not in told.lower()
    words = told.removeprefix("link to ").removesuffix(" again").split(" lost, ")
    assert words[0] == words[1], "by the same word each time"


def test_serial_numbers_are_replaced(redactor: Redactor) -> None:
    told = redactor.text("Device: /dev/sda [SAT], ST4000NM0035, S/N:ZC1234AB, WWN:5-000c50-0a1b2c3d4, FW:SN03, 4.00 TB")
    assert "ZC1234AB" not in told
    assert "5-000c50" not in told
    assert "/dev/sda" in told


@pytest.mark.parametrize(
    "line",
    [
        "sd 0:0:0:0: [sda] tag#4 Add. Sense: Unrecovered read error - auto reallocate failed",
        "pcieport 0000:3a:00.0: AER: Uncorrected (Fatal) error received: 0000:3b:00.0",
        "mce: [Hardware Error]: CPU 0: Machine Check: 0 Bank 7: bd80000000100134",
        "7,11/20/26,11:50:00 UTC,Power Supply PS1 Status,Failure detected,Asserted",
        "EDAC MC0: 1 UE memory read error on CPU_SrcID#0_Ha#0_Chan#1_DIMM#0 (channel:1 slot:0 page:0x12f03a)",
        "nvme nvme0: I/O 312 (I/O Cmd) QID 3 timeout, aborting",
    ],
)
def test_what_says_which_part_it_is_stays(redactor: Redactor, line: str) -> None:
    assert redactor.text(line) == line


def test_labels_of_a_series(redactor: Redactor) -> None:
    labels = {
        "instance": "prod-kvm-07.corp.example:9100",
        "device": "sda",
        "serial_number": "ZC1234AB",
        "name": "PS1 Status",
    }
    told = redactor.labels(labels, node_label="instance")
    assert told == {
        "instance": "node-1:9100",
        "device": "sda",
        "serial_number": "serial_number-1",
        "name": "PS1 Status",
    }
