"""One background agent for each state folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from models.errors import BadInput
from tools.journal import be_the_only_one


def test_a_second_one_is_told_which_one_runs_already_until_that_ends(tmp_path: Path) -> None:
    with (
        be_the_only_one(tmp_path / "state"),
        pytest.raises(BadInput, match=rf"another `lifeboat run` \(pid {os.getpid()}\) uses .*state"),
        be_the_only_one(tmp_path / "state"),
    ):
        pass
    with be_the_only_one(tmp_path / "state"), be_the_only_one(tmp_path / "another"):
        pass
