"""Recording rules for big fleets, written from the catalogue: `python -m tools.signals.rules`.

With them Prometheus computes each summary once, when the samples come in, and lifeboat reads five series a part every five
minutes instead of having them computed again. Load deploy/prometheus-rules.yaml and set `prometheus.recorded: true`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import yaml

from models.risk.signal import STATISTICS, Signal
from tools.signals import load_catalogue

RULES = Path(__file__).parents[2] / "deploy/prometheus-rules.yaml"
_HEAD = """\
# lifeboat's summaries as Prometheus recording rules, written by `python -m tools.signals.rules [NODE_LABEL [SIGNALS_FILE]]`.
# Load it with `rule_files`, set `prometheus.recorded: true` in lifeboat.yaml. NODE_LABEL is the label that names nodes
# (`prometheus.node_label`), here {label!r}.
"""
_OVER_TIME = {"last": "last", "min": "min", "max": "max", "mean": "avg", "count": "count"}


def rules(signals: Iterable[Signal], node_label: str = "instance") -> str:
    """The rules file: a group that evaluates each signal every 15 s, and one that summarises the last five minutes,
    every minute so that what is read on the five minutes is never stale."""
    signals = list(signals)
    levels = [
        {"record": f"lifeboat:{signal.name}", "expr": " ".join(signal.query(node_label).split())} for signal in signals
    ]
    summaries = [
        {
            "record": signal.recorded,
            "expr": f"{_OVER_TIME[stat]}_over_time(lifeboat:{signal.name}[5m])",
            "labels": {"stat": stat},
        }
        for signal in signals
        for stat in STATISTICS
    ]
    groups = [
        {"name": "lifeboat-signals", "interval": "15s", "rules": levels},
        {"name": "lifeboat-summaries", "interval": "1m", "rules": summaries},
    ]
    body = yaml.safe_dump({"groups": groups}, sort_keys=False, allow_unicode=True, width=200)
    return _HEAD.format(label=node_label) + body


def main() -> None:
    """Write the shipped file, or with arguments the rules for another label and catalogue to standard output."""
    if len(sys.argv) > 1:
        user_file = Path(sys.argv[2]) if len(sys.argv) > 2 else None
        sys.stdout.write(rules(load_catalogue(user_file), sys.argv[1]))
        return
    RULES.write_text(rules(load_catalogue()), encoding="utf-8")


if __name__ == "__main__":
    main()
