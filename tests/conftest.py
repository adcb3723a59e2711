"""For every test: what each of them would otherwise pay for again."""

from __future__ import annotations

import functools
import gc
import importlib
from typing import TYPE_CHECKING

import pytest
import typer.main
import typer.testing

if TYPE_CHECKING:
    from longest_first import LongestFirst
    from xdist.remote import Producer

# What is loaded before the first test is never garbage: not looked through while it is loaded, nor in any test.
gc.disable()

# skops looks up each function it knows in every module loaded so far. Now, while these are few: a second less.
importlib.import_module("skops.io")

# Each call of a command would put all commands of `lifeboat` together again.
typer.testing.__dict__["_get_command"] = functools.cache(typer.main.get_command)


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LongestFirst | None:
    if config.getvalue("dist") != "loadfile":
        return None
    from longest_first import LongestFirst

    return LongestFirst(config, log)
