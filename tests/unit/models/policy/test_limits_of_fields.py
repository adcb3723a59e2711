"""What a policy may not say: each field keeps its own limits, and a number has its unit."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from models.policy.policy import Policy


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"migration": {"dirty_probe": "2m"}}, "less than or equal to 1 minute"),
        ({"wait": {"longest": "8d"}}, "less than or equal to 7 days"),
        ({"data": {"max_age": "0s"}}, "greater than 0 seconds"),
        ({"approval": {"expires_after": "0s"}}, "greater than 0 seconds"),
        ({"archive": {"shutdown_timeout": "0s"}}, "greater than 0 seconds"),
        ({"cooldown": "37000d"}, "longer than a century"),
        ({"cooldown": "P-1D"}, "is not a duration"),
        ({"cooldown": 30}, "30 has no unit: write 30s, 30m, 2h or 7d"),
        ({"cooldown": 0}, "0 has no unit"),
        ({"cooldown": True}, "has no unit"),
    ],
)
def test_what_is_past_a_limit_or_has_no_unit_is_refused(content: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Policy.model_validate(content)


def test_a_policy_written_out_reads_back_the_same() -> None:
    policy = Policy.model_validate(
        {"cooldown": "1h30m", "wait": {"longest": "7d"}, "approval": {"expires_after": "PT10M"}}
    )
    assert Policy.model_validate_json(policy.model_dump_json()) == policy
