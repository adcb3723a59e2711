"""Who is at the terminal is the kernel's word."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from agent.approve.identity import terminal_identity


def test_it_is_the_account_that_logged_in_whatever_it_runs_as_or_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = next(user for user in pwd.getpwall() if user.pw_uid != os.getuid())
    (tmp_path / "loginuid").write_text(str(other.pw_uid))
    monkeypatch.setenv("USER", "boss")
    monkeypatch.setenv("LOGNAME", "boss")
    assert terminal_identity(tmp_path / "loginuid") == f"terminal:{pwd.getpwuid(other.pw_uid).pw_name}"


@pytest.mark.parametrize("content", ["4294967295", "", None])
def test_without_a_login_it_is_the_account_it_runs_as(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "loginuid").write_text(content)
    assert terminal_identity(tmp_path / "loginuid") == f"terminal:{pwd.getpwuid(os.getuid()).pw_name}"


def test_an_account_without_a_name_is_told_by_its_number(tmp_path: Path) -> None:
    (tmp_path / "loginuid").write_text("3999999999")
    assert terminal_identity(tmp_path / "loginuid") == "terminal:uid-3999999999"
