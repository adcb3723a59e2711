"""What drives that fail mean for their node: by what stands in for them and what lives on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from pydantic import ValidationError

from models.forecast.limits.array_loss import array_loss, at_least, node_risk
from models.forecast.limits.part import HORIZON_SECONDS
from models.storage_layout import ArrayLayout, ArrayLevel, Holds, StoragePolicy

WEEK = HORIZON_SECONDS[-1]


def steady(week: float) -> tuple[float, ...]:
    """A drive's curve at a constant hazard, from its P(fails within a week)."""
    return tuple(1.0 - (1.0 - week) ** (h / WEEK) for h in HORIZON_SECONDS)


def policy(*arrays: Mapping[str, object], **more: object) -> StoragePolicy:
    return StoragePolicy.model_validate({"arrays": list(arrays), **more})


def within_a_week(drives: dict[str, float], of: StoragePolicy, lacking: dict[str, int] | None = None) -> float:
    return node_risk("n1", {name: steady(p) for name, p in drives.items()}, of, lacking)[0][-1]


MIRROR = {"disks": ["sda", "sdb"], "level": "raid1", "members": 2, "name": "md0"}
FIVE = {"disks": ["sd*"], "level": "raid5", "members": 4}
SIX = {"disks": ["sd*"], "level": "raid6", "members": 4}
TEN = {"disks": ["sd*"], "level": "raid10", "members": 4}
PAIR = {"sda": 0.5, "sdb": 0.001}
FOUR = {"sda": 0.5, "sdb": 0.001, "sdc": 0.001, "sdd": 0.001}


@pytest.mark.parametrize(
    ("arrays", "drives", "low", "high"),
    [
        ([], PAIR, 0.5005, 0.5005),  # nobody spoke of them: any of them takes the node
        ([{"disks": ["sd*"], "level": "raid0"}], PAIR, 0.5005, 0.5005),
        # half a chance that sda goes, then sdb within the day of the rebuild: 0.5 × 0.00014, and what takes both, 0.0001
        ([MIRROR], PAIR, 0.0001, 0.0003),
        ([MIRROR], {"sda": 0.5, "sdb": 0.5}, 0.1, 0.29),  # two sick ones: the mirror is no comfort
        ([FIVE], FOUR, 0.0005, 0.0007),  # the same with three partners, whichever goes first
        ([SIX], FOUR, 0.00009, 0.00012),  # only what takes three along
        ([TEN], FOUR, 0.0001, 0.0003),  # one of three others is the partner
        ([FIVE], {"sda": 0.5, "sdb": 0.5, "sdc": 0.001, "sdd": 0.001}, 0.1, 0.3),
        ([{"disks": ["sd*"], "holds": "other"}], PAIR, 0.025, 0.0251),  # copies: a drive that dies may hang the bus
        ([{"disks": ["sd*"], "holds": "guests"}], PAIR, 0.5005, 0.5005),
    ],
)
def test_a_drive_that_is_about_to_fail(
    arrays: Sequence[Mapping[str, object]], drives: dict[str, float], low: float, high: float
) -> None:
    assert low - 1e-6 <= within_a_week(drives, policy(*arrays)) <= high + 1e-6


def test_a_member_that_does_not_report_stands_in_for_nobody() -> None:
    assert within_a_week({"sda": 0.5}, policy(MIRROR)) == pytest.approx(0.5)
    assert within_a_week({k: FOUR[k] for k in ("sda", "sdb", "sdc")}, policy(FIVE)) == pytest.approx(0.5, abs=0.01)
    assert within_a_week({k: FOUR[k] for k in ("sda", "sdb", "sdc")}, policy(TEN)) > 0.49


def test_what_the_kernel_says_an_array_lacks_counts_for_that_array_only() -> None:
    assert within_a_week(PAIR, policy(MIRROR), {"md0": 1}) == pytest.approx(0.5005)
    assert within_a_week(PAIR, policy(MIRROR), {"md1": 1}) < 0.001


def test_the_first_array_that_names_a_drive_has_it_and_the_rest_stand_alone() -> None:
    two = policy(MIRROR, {"disks": ["*"], "holds": "other"})
    risk, arrays = node_risk("n1", {"/dev/sda": steady(0.2), "sdb": steady(0.2), "sdc": steady(0.9)}, two)
    assert sorted(map(sorted, (one.disks for one in arrays))) == [["/dev/sda", "sdb"], ["sdc"]]
    assert risk[-1] < 0.1
    elsewhere = policy({**MIRROR, "nodes": ["db-*"]})
    assert within_a_week({"sda": 0.2, "sdb": 0.2}, elsewhere) == pytest.approx(1 - 0.8 * 0.8)


def test_a_bracket_in_a_name_is_a_bracket() -> None:
    array = ArrayLayout(disks=("bus/0[1]",))
    assert array.has("n", "bus/0[1]")
    assert not array.has("n", "bus/01")


def test_a_slower_rebuild_and_a_shared_cause_are_worse() -> None:
    quick, slow = policy(MIRROR, rebuild="2h"), policy(MIRROR, rebuild="7d")
    assert within_a_week({"sda": 0.3, "sdb": 0.1}, quick) < within_a_week({"sda": 0.3, "sdb": 0.1}, slow)
    apart, together = policy(MIRROR, together=0.0), policy(MIRROR, together=0.5)
    assert within_a_week({"sda": 0.3, "sdb": 0.1}, apart) < within_a_week({"sda": 0.3, "sdb": 0.1}, together)


@pytest.mark.parametrize(
    ("level", "members"), [("raid1", 1), ("raid5", 2), ("raid6", 3), ("raid10", 2), ("raid5", None)]
)
def test_an_array_in_which_drives_may_fail_says_how_many_it_has(level: str, members: int | None) -> None:
    with pytest.raises(ValidationError, match="members"):
        ArrayLayout.model_validate({"disks": ["sd*"], "level": level, "members": members})


def test_at_least_so_many_of_several() -> None:
    assert at_least(0, [0.5]) == 1.0
    assert at_least(2, [0.5, 0.5, 0.5]) == pytest.approx(0.5)
    assert at_least(2, [0.3]) == 0.0


def test_an_array_whose_members_all_report_well_is_well() -> None:
    layout = ArrayLayout(disks=("sd*",), level=ArrayLevel.RAID6, members=12, holds=Holds.GUESTS)
    assert array_loss([steady(0.0001)] * 12, layout, StoragePolicy())[-1] < 0.0001
