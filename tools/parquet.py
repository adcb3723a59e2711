"""Parquet files read by polars, a Rust library: where it meets a fault of its own it panics, which is no Exception."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

_PANICS = "pyo3_runtime"
"""the module that Rust's Python binding puts `PanicException` in, which can't be imported"""


class ParquetUnreadable(OSError):
    """A file that the library can't read, and that it took for sound."""


def is_panic(error: BaseException) -> bool:
    """Whether a Rust library gave up in the middle of a call."""
    return type(error).__module__ == _PANICS


def read_parquet(path: Path, *, quiet: bool = False) -> pl.DataFrame:
    """The whole file. Raises PolarsError and OSError, ParquetUnreadable among them; never a panic.

    `quiet`: nothing that the library itself writes reaches standard error, for a command that says it in one line. What
    other threads write there meanwhile is lost."""
    import polars as pl

    try:
        with _no_stderr() if quiet else _as_it_is():
            return pl.read_parquet(path)
    except BaseException as error:
        if not is_panic(error):
            raise
        raise ParquetUnreadable(f"its content contradicts itself ({' '.join(str(error).split())[:120]})") from None


@contextmanager
def _as_it_is() -> Generator[None]:
    yield


@contextmanager
def _no_stderr() -> Generator[None]:
    """The process's own, below Python's: a panic is told there before any Python code can see it."""
    sys.stderr.flush()
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)
