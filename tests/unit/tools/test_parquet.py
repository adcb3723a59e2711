"""A parquet file whose content contradicts itself is bad input, whatever the library does about it."""

from __future__ import annotations

import os
import random
from pathlib import Path

import polars as pl
import pytest
from polars.exceptions import PolarsError

from tools.parquet import is_panic, read_parquet


def test_a_sound_file_is_read(tmp_path: Path) -> None:
    frame = pl.DataFrame({"unit": ["a", "b"], "value": [1.0, None]})
    frame.write_parquet(tmp_path / "sound.parquet")
    assert read_parquet(tmp_path / "sound.parquet", quiet=True).equals(frame)


def test_whatever_is_in_the_file_it_is_an_error_and_nothing_is_written(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    frame = pl.DataFrame(
        {"unit": [f"unit-{n % 7}" for n in range(400)], "value": [n if n % 3 else None for n in range(400)]}
    )
    frame.write_parquet(tmp_path / "sound.parquet")
    sound, chance = (tmp_path / "sound.parquet").read_bytes(), random.Random(7)
    for _ in range(300):
        broken = bytearray(sound)
        for _ in range(3):
            broken[chance.randrange(len(broken))] = chance.randrange(256)
        (tmp_path / "broken.parquet").write_bytes(broken)
        try:
            read_parquet(tmp_path / "broken.parquet", quiet=True)
        except (OSError, PolarsError):
            continue
    assert capfd.readouterr().err == ""


def test_standard_error_is_there_again_after_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "none.parquet").write_bytes(b"no parquet")
    with pytest.raises((OSError, PolarsError)):
        read_parquet(tmp_path / "none.parquet", quiet=True)
    os.write(2, b"heard")
    assert capfd.readouterr().err == "heard"


def test_a_panic_is_told_from_what_means_to_end_the_process() -> None:
    panic = type("PanicException", (BaseException,), {"__module__": "pyo3_runtime"})
    assert is_panic(panic("assertion failed"))
    assert not is_panic(KeyboardInterrupt())
    assert not is_panic(SystemExit(0))
    assert not is_panic(ValueError())
