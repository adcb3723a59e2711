"""An answer read out of its bytes says what the JSON decoder says of it, or leaves it to that decoder."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.prometheus.matrix import Matrix, split_answer

names = st.sampled_from(["instance", "stat", "name", "device", "values", "metric"])
hostile = st.sampled_from(
    ['},"values":[[', ']]},{"metric":{', "}", ']]}]', "\\", '"', "\n", '"result":[{"metric":{', "psu-ü", "", "],[", ",\"\""]
)  # fmt: skip
labels = st.dictionaries(names, hostile | st.text(max_size=6), max_size=3)
numbers = st.floats().map(lambda x: {math.inf: "+Inf", -math.inf: "-Inf"}.get(x, "NaN" if math.isnan(x) else repr(x)))
short = st.integers(-(10**6), 10**6).map(lambda n: f"{n / 1000:g}")
samples = st.lists(st.tuples(st.integers(1, 2**33) | st.floats(1, 2**33), numbers | short), min_size=1, max_size=4)
results = st.lists(st.tuples(labels, samples), max_size=5)


def said(result: list[tuple[dict[str, str], Any]], *, ascii_only: bool = False, **more: object) -> bytes:
    series = [{"metric": metric, "values": [list(sample) for sample in values]} for metric, values in result]
    body = {"status": "success", "data": {"resultType": "matrix", "result": series}, **more}
    return json.dumps(body, separators=(",", ":"), ensure_ascii=ascii_only).encode()


@given(results, st.booleans(), st.sampled_from([{}, {"warnings": ["]]}] is what it says"]}, {"isPartial": False}]))
@settings(max_examples=60, deadline=None)
def test_what_is_read_from_the_bytes_is_what_was_sent(
    result: list[tuple[dict[str, str], Any]], ascii_only: bool, more: dict[str, object]
) -> None:
    content = said(result, ascii_only=ascii_only, **more)
    split = split_answer(content)
    if split is None:
        assert not result
        return
    envelope, matrix = split
    rows = matrix.rows()
    if not more.get("warnings"):
        assert json.loads(envelope) == {**json.loads(content), "data": {"resultType": "matrix", "result": []}}
        assert matrix.series() == json.loads(content)["data"]["result"]
        assert rows is not None
    if rows is None:
        return
    assert rows.labelled() == [metric for metric, _ in result]
    assert rows.lengths == [len(values) for _, values in result]
    assert rows.times.tolist() == [float(at) for _, values in result for at, _ in values]
    np.testing.assert_array_equal(rows.values, [float(text) for _, values in result for _, text in values])


@pytest.mark.parametrize(
    "text",
    [
        '[{"metric":{"a":"b"},"values":[[1,"2"],[3]]}]',
        '[{"metric":{"a":"b"},"values":[[1,2]]}]',
        '[{"metric":{"a":"b"},"values":[[1,"2"x]]}]',
        '[{"metric":{"a":"b"},"values":[[1,"2","3"]]}]',
        '[{"metric":{"a":"b"},"values":[["1",2]]}]',
        '[{"metric":{"a":"b"},"values":[[1,"1-2"]]}]',
        '[{"metric":{"a":"b"},"values":[[1,""]]}]',
        '[{"metric":{"a":"b"},"values":[[1,"0x10"]]}]',
        '[{"metric":{"a":"b"},"histograms":[[1,"2"]]}]',
        '[{"metric":{"a":"b"},"values":[[1,"2"]],"histograms":[]}]',
        '[{"values":[[1,"2"]],"metric":{"a":"b"}}]',
        '[{"metric": {"a":"b"},"values":[[1,"2"]]}]',
        '[{"metric":{"a":"b"},"values":[]}]',
    ],
)
def test_another_layout_is_left_to_the_decoder(text: str) -> None:
    assert Matrix(text.encode()).rows() is None


@given(results, st.integers(0, 200))
@settings(max_examples=50, deadline=None)
def test_an_answer_cut_off_is_never_split(result: list[tuple[dict[str, str], Any]], cut: int) -> None:
    """It would pass for a smaller fleet."""
    content = said(result)
    split = split_answer(content[: max(0, len(content) - 1 - cut)])
    if split is not None:
        with pytest.raises((json.JSONDecodeError, UnicodeDecodeError)):  # cut within a letter, too
            json.loads(split[0])
