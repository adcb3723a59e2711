"""A fleet's own model, challenged on its own history: what is written, what the journal says, what is refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from scenes.fleet_history import QUICK
from scenes.watched_fleet import CATALOGUE, DAY, HOUR, START, Outage, hours

from agent.assess.retraining import last_retraining, retrain
from agent.settings import Settings
from models.errors import BadInput
from tools.forecast.model_files import load_model, model_name
from tools.history.store import HistoryStore
from tools.journal import open_journal

NODES = [f"n{k:02}" for k in range(40)]
ILL = {node: 0.05 + 0.01 * k for k, node in enumerate(NODES[:24])}
SMALL = replace(QUICK, trees=40, leaf=20, fewest_healthy=10_000)
NOW = datetime.fromtimestamp(START + 60 * DAY, UTC)


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state_dir with sixty days of history: from the tenth on, every other day a node fails whose disk got worse."""
    state = tmp_path_factory.mktemp("state")
    store = HistoryStore(state / "history", CATALOGUE)
    outages = [
        Outage(node, START + (10 + 2 * k) * DAY + 5000, START + (10 + 2 * k) * DAY + 9000) for k, node in enumerate(ILL)
    ]
    for begin in range(START, START + 60 * DAY, DAY):
        times = range(begin + HOUR, begin + DAY + 1, HOUR)
        store.append(hours(NODES, times, errors=ILL, outages=outages), times, NODES, [])
    return state


def settings(state: Path, model: Path, **forecast: object) -> Settings:
    return Settings.model_validate({"state_dir": str(state), "forecast": {"model": str(model), **forecast}})


@pytest.mark.slow  # three trainings
def test_the_first_model_comes_when_it_beats_the_base_rate_and_stays_until_another_can_be_judged(
    lived: Path, tmp_path: Path
) -> None:
    file, journal = tmp_path / "own.lifeboat", open_journal(tmp_path)
    first = retrain(settings(lived, file), journal, now=NOW, training=SMALL)
    assert first.before == ""
    assert first.after is not None, first.why
    assert first.after == model_name(file)
    assert "against the base rate" in first.why
    assert first.bits_low is not None
    assert first.bits_low > 0.0
    assert str(load_model(file).about["data_until"]) > datetime.fromtimestamp(START + 58 * DAY, UTC).isoformat()[:10]
    later = NOW + timedelta(days=1)
    retrain(settings(lived, file), journal, now=later, training=SMALL, keep=False)
    assert last_retraining(journal) == NOW, "who only asks leaves no trace"
    second = retrain(settings(lived, file), journal, now=later, training=SMALL)
    assert (second.before, second.after) == (first.after, None)
    assert "failures came since the model in use was trained" in second.why
    assert last_retraining(journal) == later
    journal.close()


@pytest.mark.slow
def test_what_is_missing_is_one_line(lived: Path, tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    with pytest.raises(BadInput, match="no model of the fleet's own"):
        retrain(Settings.model_validate({"state_dir": str(lived)}), journal, now=NOW)
    with pytest.raises(BadInput, match="nobody signed"):
        retrain(settings(lived, tmp_path / "m", trusted_key=str(tmp_path / "k.pub")), journal, now=NOW)
    with pytest.raises(BadInput, match="holds nothing yet"):
        retrain(settings(tmp_path, tmp_path / "m"), journal, now=NOW)
    journal.close()
