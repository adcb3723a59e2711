"""Whatever is wrong with a file from outside, the command that reads it answers, or says so in one line.

`./dev bench mutations` does the same with thousands of files, and with those that cost seconds each.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.mutation_seeds import KINDS, Kind
from bench.mutations import try_kind

QUICK = [kind for kind in KINDS if kind.name not in {"metrics", "pins", "signals", "model"}]


@pytest.mark.slow
@pytest.mark.parametrize("kind", QUICK, ids=[kind.name for kind in QUICK])
def test_a_broken_file_is_an_answer_or_one_line(kind: Kind, tmp_path: Path) -> None:
    result = try_kind(kind, 8, 20261128, tmp_path)
    assert result.cases == 8
    assert not result.faults
