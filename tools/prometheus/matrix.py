"""The series of a range answer out of its bytes: a fleet's answer has fifty thousand of them, and an object for each label
and sample costs more than all the rest of a pass.

Prometheus and those who speak its API write JSON without blanks, `metric` before `values`. What is laid out otherwise is
not guessed at: it goes through the JSON decoder. In a JSON string every quotation mark is escaped, hence what parts the
series here can't stand in a label.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic_core import from_json

Floats = NDArray[np.float64]

_BEGIN, _END = b'"result":[{"metric":{', b"]]}]"
_NEXT, _VALUES = b']]},{"metric":{', b'},"values":[['
_NUMBER = b"0123456789.eE+-NaInf"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Every series of an answer: what stands between the braces of its labels, and its samples, one series' after the other's."""

    labels: list[bytes]
    lengths: list[int]
    """samples of each series"""
    times: Floats
    values: Floats

    def labelled(self) -> list[Mapping[str, str]]:
        """Raises ValueError."""
        return from_json(b"[{" + b"},{".join(self.labels) + b"}]")

    def on_grid(self, points: Floats, step_seconds: float) -> Floats | None:
        """Series × points, NaN where there is no sample or none that is finite; None: some times are not of the grid, or not in
        their order. What is beyond the last point is left off: rounding the end up may have asked for one more."""
        lengths = np.array(self.lengths, np.int64)
        series = np.repeat(np.arange(lengths.size), lengths)
        places = np.rint((self.times - points[0]) / step_seconds)
        off = np.abs(self.times - points[0] - places * step_seconds) > 0.5
        back = (np.diff(places) <= 0) & (np.diff(series) == 0)
        if np.any(off) or np.any(back) or (places.size and places.min() < 0):
            return None
        inside = places < points.size
        values: Floats = np.full((lengths.size, points.size), np.nan)
        numbers = np.where(np.isfinite(self.values), self.values, np.nan)
        values[series[inside], places[inside].astype(np.int64)] = numbers[inside]
        return values

    @property
    def digest(self) -> bytes:
        """The same for the same series in the same order."""
        return sha256(b"\n".join(self.labels)).digest()  # JSON has no bare line end


class Matrix:
    """The `result` of an answer."""

    def __init__(self, text: bytes, series: list[Mapping[str, Any]] | None = None) -> None:
        """`text`: the list as it was sent; `series`: where it was decoded already."""
        self._text = text
        self._series = series

    def series(self) -> list[Mapping[str, Any]]:
        """As the JSON decoder has it. Raises ValueError when it is none."""
        return from_json(self._text) if self._series is None else self._series

    def rows(self) -> Rows | None:
        """The same without objects; None where it is laid out in another way."""
        if self._series is not None or not (self._text.startswith(b'[{"metric":{') and self._text.endswith(_END)):
            return None
        inside = self._text[len(b'[{"metric":{') : -len(_END)]
        cut = [row.partition(_VALUES) for row in inside.split(_NEXT)]
        every = [values for _, _, values in cut]
        # What stands still in a whole fleet, as most states and counts of damage, is read once.
        place: dict[bytes, int] = {}
        places = [place.setdefault(values, len(place)) for values in every]
        samples = list(place)
        joined = b";".join(samples)  # `1764000000,"12.09"],[1764000300,"12.1";1764000000,"4"`
        several = b"],[" in joined
        shape = joined.translate(None, _NUMBER).replace(b"],[", b";")
        count = shape.count(b";") + 1
        quoted = joined.count(b',"') == count == joined.count(b'"]') + joined.count(b'";') + joined.endswith(b'"')
        if not quoted or shape != b";".join([b',""'] * count):
            return None
        plain = joined.replace(b'"', b"").replace(b"],[", b",").replace(b";", b",")
        if b"Inf" in plain:
            plain = plain.replace(b"Inf", b"Infinity").replace(b"+Infinity", b"Infinity")
        try:
            numbers: Floats = np.array(from_json(b"[" + plain + b"]"), dtype=np.float64)
        except (ValueError, OverflowError):
            return None
        if numbers.size != 2 * count:
            return None
        lengths = [values.count(b"],[") + 1 for values in samples] if several else [1] * len(samples)
        times, values = numbers[0::2], numbers[1::2]
        if len(samples) < len(every):
            lengths, where = _again(lengths, places)
            times, values = times[where], values[where]
        return Rows(labels=[labels for labels, _, _ in cut], lengths=lengths, times=times, values=values)


def _again(lengths: list[int], places: list[int]) -> tuple[list[int], NDArray[np.int64]]:
    """The lengths of all series, and for each of their samples where it is, out of the lengths of those that differ."""
    size = np.array(lengths, np.int64)
    each = size[places]
    begin = (np.cumsum(size) - size)[places]
    where = np.arange(each.sum()) + np.repeat(begin - (np.cumsum(each) - each), each)
    return each.tolist(), where


def split_answer(content: bytes) -> tuple[bytes, Matrix] | None:
    """An answer without its series, and the series; None where there are none, or where they can't be told apart."""
    begin, end = content.find(_BEGIN, 0, 512), content.rfind(_END)
    if begin < 0 or end < begin:
        return None
    begin, end = begin + len(b'"result":'), end + len(_END)
    return content[:begin] + b"[]" + content[end:], Matrix(content[begin:end])
