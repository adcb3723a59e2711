"""The catalogue as shipped, and what users may do to it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from models.errors import BadInput
from models.risk.signal import Component, Signal
from tools.signals import load_catalogue
from tools.signals.page import END, START, table
from tools.signals.rules import RULES, rules

SIGNALS = load_catalogue()


def test_every_component_has_signals() -> None:
    assert {signal.component for signal in SIGNALS} == set(Component)


@pytest.mark.parametrize("signal", SIGNALS, ids=lambda s: s.name)
def test_a_shipped_signal_says_what_an_operator_needs(signal: Signal) -> None:
    assert signal.limits.source, "where its limits stand"
    assert signal.weight_reason, "why it weighs what it weighs"
    assert signal.meaning
    assert signal.exporter, "what to install where it is missing"
    assert "$node_label" in signal.promql, "it must give one series per node, whatever the label is called"
    if signal.limits.low is not None or signal.limits.high is not None:
        assert signal.noise > 0, "without a noise floor a constant reading makes any change news"
    if signal.part_label is not None:
        assert re.search(rf"by \([^)]*\b{signal.part_label}\b", signal.promql), "parts stay apart"
        assert "{part}" in signal.title
    query = signal.query("instance")
    assert query.count("(") == query.count(")")
    assert "$" not in query


@pytest.mark.parametrize(
    ("name", "fits", "not_these"),
    [
        (
            "psu_12v_volts",
            ["PSU1 12V Out", "12V", "12VCC", "P12V", "+12 V", "+12V AUX"],
            ["1.12V", "5V", "P1V12", "312V"],
        ),
        ("rail_5v_volts", ["Rail 5V", "5VSB", "P5V", "+5 V"], ["1.5V", "P1V5", "12V", "0.95V"]),
        ("rail_3v3_volts", ["Rail 3.3V", "3V3", "P3V3", "+3.3VSB"], ["13.3V", "5V", "VBAT"]),
        ("psu_input_volts", ["PSU1 Vin", "PS1 Input Voltage", "PS1 AC In", "PS1 Voltage 1"], ["12V", "Vcore"]),
    ],
)
def test_sensor_names_of_several_vendors(name: str, fits: list[str], not_these: list[str]) -> None:
    (signal,) = (s for s in SIGNALS if s.name == name)
    found = re.search(r'name=~"((?:[^"\\]|\\.)*)"', signal.promql)
    assert found is not None
    pattern = re.compile(found[1])  # RE2 and Python agree on what is used here
    assert [n for n in fits if not pattern.fullmatch(n)] == []
    assert [n for n in not_these if pattern.fullmatch(n)] == []


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_a_user_changes_one_field_adds_one_signal_and_leaves_one_out(tmp_path: Path) -> None:
    file = write(
        tmp_path / "signals.yaml",
        """
signals:
  - name: fan_speed_rpm
    limits: {low: 900, source: data sheet of our chassis}
  - name: coolant_pressure
    component: thermal
    unit: kPa
    promql: avg by ($node_label) (coolant_kpa)
    limits: {low: 80, high: 220, source: our cooling vendor}
    meaning: the pressure in the cold plate's loop
without: [inlet_temperature_celsius]
""",
    )
    changed = {signal.name: signal for signal in load_catalogue(file)}
    assert changed["fan_speed_rpm"].limits.low == 900
    assert changed["fan_speed_rpm"].unit == "rpm", "the rest stays as shipped"
    assert changed["coolant_pressure"].limits.high == 220
    assert "inlet_temperature_celsius" not in changed
    assert len(changed) == len(SIGNALS)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("signals: [{name: fan_speed_rpm, limits: {low: many}}]", "fan_speed_rpm: limits.low"),
        ("signals: [{name: fan_speed_rpm, limit: {low: 1}}]", "fan_speed_rpm: limit: "),
        ("signals: [{name: new_one, unit: V}]", "new_one: component"),
        ("signals: [{unit: V}]", r"signals\.0: expected a mapping with a name"),
        ("signals: {a: 1}", "signals: expected a list"),
        ("signals: [{name: a, unit: V}, {name: a, unit: V}]", "'a' appears twice"),
        ("signals: [{name: psu_12v_volts, limits: {low: 13}}]", "13.0 is not below high 12.6"),
        ("without: [psu_12v_volt]", "no signal 'psu_12v_volt'"),
        ("signal: []", "signal: not known here"),
        ("[1, 2]", "expected a mapping"),
        ("signals: [", "is not YAML"),
    ],
)
def test_a_broken_signals_file_is_named_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    file = write(tmp_path / "signals.yaml", text)
    with pytest.raises(BadInput, match=said) as error:
        load_catalogue(file)
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_signals_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"none\.yaml: No such file"):
        load_catalogue(tmp_path / "none.yaml")


def test_the_shipped_recording_rules_are_the_catalogue_s() -> None:
    assert RULES.read_text(encoding="utf-8") == rules(SIGNALS), "run: python -m tools.signals.rules"


def test_the_documentation_lists_what_is_shipped() -> None:
    page = (Path(__file__).parents[4] / "docs/signals.md").read_text(encoding="utf-8")
    assert page[page.index(START) + len(START) : page.index(END)].strip() == table(SIGNALS).strip(), (
        "run: python -m tools.signals.page"
    )
