"""Which process is meant, also once its number is given out again."""

from __future__ import annotations

import subprocess
import sys

from tools.process import is_alive, this_process


def test_a_process_lives_until_it_has_ended():
    code = "from tools.process import this_process; print(this_process(), flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        name = other.stdout.readline().strip()
        assert is_alive(name)
        assert name != this_process()
        other.communicate("\n")
    assert not is_alive(name)


def test_another_process_with_its_number_is_not_it():
    boot, _, pid = this_process().split(":")
    assert is_alive(this_process())
    assert not is_alive(f"{boot}:1:{pid}")
    assert not is_alive(f"another-boot:{this_process().partition(':')[2]}")
    assert not is_alive("")
