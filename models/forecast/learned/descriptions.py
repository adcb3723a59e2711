"""What the features of one subject say, in the units and words of a person; feature names stay out of it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

MEANING = {
    "1": "raw read error rate", "3": "spin-up time", "4": "starts and stops", "5": "reallocated sectors",
    "7": "seek error rate", "9": "power-on hours", "10": "spin-up retries", "12": "power cycles",
    "181": "program failures", "182": "erase failures", "183": "link downshifts", "184": "end-to-end errors",
    "187": "reported uncorrectable errors", "188": "command timeouts", "189": "high-fly writes",
    "190": "airflow temperature", "192": "emergency retracts", "193": "load cycles", "194": "temperature",
    "196": "reallocation events", "197": "sectors pending reallocation", "198": "offline uncorrectable sectors",
    "199": "link CRC errors", "200": "write error rate",
}  # fmt: skip
"""SMART attributes by number (smartmontools' drivedb and ATA)."""

YEAR_DAYS = 365.0

_FEATURE = re.compile(r"(.+)\.([A-Za-z]\w*(?:\.\d+[dhms])?)")

Values = Mapping[str, tuple[float, float]]
"""Per feature of one subject, its name without the subject: (this unit's value, the median of healthy units)."""


def parted(feature: str) -> tuple[str, str]:
    """(subject, what of it) of a feature's name, `smart_5.change_7.5d` → smart_5, change_7.5d; a bare name is both."""
    found = _FEATURE.fullmatch(feature)
    return (found[1], found[2]) if found else (feature, feature)


def titled(subject: str) -> str:
    """`smart_187 (reported uncorrectable errors)`; other names as they are."""
    number = re.fullmatch(r"smart_(\d+)(?:_raw)?", subject)
    known = MEANING.get(number[1]) if number else None
    return f"{subject} ({known})" if known else subject


def of_signal(subject: str, values: Values, *, clock: bool = False) -> str:
    """`smart_5 (reallocated sectors): 14, rose by 12 in 30 d; half of the healthy units have 0`. clock: it counts time."""
    now, usual = values["last"]
    if math.isnan(now):
        return f"{titled(subject)}: not reported" + ("" if math.isnan(usual) else "; most healthy units report it")
    said = [amount(now)]
    changes = [(name.removeprefix("change_"), v) for name, (v, _) in values.items() if _is_window(name, "change_")]
    moved = next(((span, v) for span, v in changes if v and not math.isnan(v)), None)
    unchanged = _value(values, "since_change")
    if clock:
        return f"{titled(subject)}: {amount(now)}{half_have(usual)}"
    if moved is not None:
        said.append(f"{'rose' if moved[1] > 0 else 'fell'} by {amount(abs(moved[1]))} in {spaced(moved[0])}")
    elif not math.isnan(unchanged):
        said.append(f"unchanged for {lasting(unchanged)}")
    for name, (swing, usual_swing) in values.items():
        if _is_window(name, "spread_") and swing > 2.0 * usual_swing:
            window = spaced(name.removeprefix("spread_"))
            said.append(f"varies by {amount(swing)} over {window}, healthy units by {amount(usual_swing)}")
            break
    return f"{titled(subject)}: {', '.join(said)}{half_have(usual)}"


def of_events(subject: str, values: Values, usual: tuple[str, float] | None) -> str:
    """`events: 3 in 84 d, the last 2 d ago; usual for its system 0.2`. usual: (whose, a unit and year)."""
    counts = [(name.removeprefix("count_"), v) for name, (v, _) in values.items() if name.startswith("count_")]
    span, count = next(((s, v) for s, v in reversed(counts[:-1]) if v), counts[-1])
    last = _value(values, "since")
    if math.isnan(last):
        said = "none so far"
    elif count:
        said = f"{amount(count)} in {spaced(span)}, the last {lasting(last)} ago"
    else:
        said = f"the last {lasting(last)} ago"
    days = in_days(span)
    if usual is not None and days and count:
        said += f"; usual for {usual[0]} {amount(usual[1] * days / YEAR_DAYS)}"
    return f"{subject if subject == 'events' else f'{subject} events'}: {said}"


def of_rate(whose: str, values: Values) -> str:
    """`the whole fleet: 0.4 events a unit and year over the last 84 d`."""
    rates = [(name.removeprefix("rate_"), v) for name, (v, _) in values.items() if name.startswith("rate_")]
    span, rate = rates[-2] if len(rates) > 1 else rates[0]
    return f"{whose}: {amount(rate)} events a unit and year over the last {spaced(span)}"


def of_category(name: str, value: str, failures: float, fleet: float) -> str:
    """`model X: 9.3 failures per 100 units and year, 4.1 in the whole fleet`. Rates are per unit and day; NaN: unknown."""
    if math.isnan(failures):
        return f"{name} {value}"
    per = 100.0 * YEAR_DAYS
    return f"{name} {value}: {amount(failures * per)} failures per 100 units and year, {amount(fleet * per)} in the whole fleet"


def of_all_signals(values: Values) -> str:
    said: list[str] = []
    for name, words in (("nonzero", "other than 0"), ("missing", "not reported")):
        now, usual = values.get(name, (math.nan, math.nan))
        if not math.isnan(now):
            said.append(f"{words} {amount(now)} (healthy units {amount(usual)})")
    for start, words in (("rising_", "risen"), ("changes_", "changes")):
        windows = ((name.removeprefix(start), v) for name, (v, _) in values.items() if name.startswith(start))
        said += [f"{words} in {spaced(span)} {amount(v)}" for span, v in windows if v and not math.isnan(v)][:1]
    return f"how many signals: {', '.join(said) or 'none reported'}"


def of_age(values: Values) -> str:
    now, usual = values["observed"]
    return f"under observation for {lasting(now)}; half of the healthy units for {lasting(usual)} or less"


def of_number(name: str, now: float, usual: float) -> str:
    return f"{name}: {'not known' if math.isnan(now) else amount(now)}{half_have(usual)}"


def half_have(usual: float) -> str:
    if math.isnan(usual):
        return "; most healthy units do not report it"
    return f"; half of the healthy units have {amount(usual)}{'' if usual == 0 else ' or less'}"


def amount(value: float) -> str:
    """Three figures, no exponent before a million."""
    if math.isnan(value):
        return "unknown"
    if abs(value) >= 1e6:
        return f"{value:.3g}"
    return (
        f"{value:.0f}"
        if abs(value) >= 100 or value == int(value)
        else f"{value:.2g}"
        if abs(value) < 1
        else f"{value:.3g}"
    )


def lasting(days: float) -> str:
    """`17 h`, `5.1 d`, `192 d`."""
    return f"{24 * days:.0f} h" if days < 1 else f"{days:.1f} d" if days < 10 else f"{days:.0f} d"


def spaced(span: str) -> str:
    """`30d` as a person writes it: `30 d`."""
    return re.sub(r"(?<=\d)(?=[a-z])", " ", span)


def in_days(span: str) -> float:
    """The days of a span in a feature's name; 0 where it is none."""
    found = re.fullmatch(r"([\d.]+)([dhms])", span)
    return float(found[1]) * {"d": 1.0, "h": 1 / 24, "m": 1 / 1440, "s": 1 / 86_400}[found[2]] if found else 0.0


def _is_window(name: str, start: str) -> bool:
    return name.startswith(start) and name != "change_total"


def _value(values: Values, name: str) -> float:
    return values.get(name, (math.nan, math.nan))[0]
