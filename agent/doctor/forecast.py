"""The doctor's check of the learned models: their files can be used, and there is a history for them to go by."""

from __future__ import annotations

from collections.abc import Iterator

from agent.doctor.examine import CheckContext, Finding, Health, finding
from models.errors import LifeboatError

FRESH_SECONDS = 3 * 3600.0
"""How old the newest hour of the history may be: one is taken in when it is over and every signal was read."""


def check_forecast(context: CheckContext) -> Iterator[Finding]:
    """Each configured model file, and the history; nothing where none is configured."""
    from agent.assess.learned_models import LearnedModels
    from models.forecast.data.as_of import span_name
    from models.forecast.limits.part import elapsed
    from tools.history.store import HistoryStore
    from tools.signals import load_catalogue

    signals = load_catalogue(context.settings.signals_file)
    learned = LearnedModels(context.settings, signals)
    for label, (model, name) in learned.models().items():
        if isinstance(model, LifeboatError):
            fix = model.hint or "train it again, or take it out of `forecast` in the settings"
            yield finding("forecast", label, Health.FAIL, f"{model.message}; documented limits carry on", fix)
            continue
        spans = ", ".join(span_name(h) for h in model.horizons)
        what = (
            f"model {name}: {model.about.get('failures')} failures until {model.about.get('data_until')}, for {spans}"
        )
        yield finding("forecast", label, Health.OK, what)
    if learned.models():
        store = HistoryStore(context.settings.state_dir / "history", signals)
        age = context.clock.now().timestamp() - store.until
        if not store.until:
            what, fix = "nothing was kept yet: learned forecasts say nothing", "start `lifeboat run`"
            yield finding("forecast", "history", Health.WARN, what, fix)
        elif age > FRESH_SECONDS:
            what = f"it ends {elapsed(age)} ago"
            yield finding(
                "forecast", "history", Health.WARN, what, "is `lifeboat run` at work, and Prometheus answering?"
            )
        else:
            since = elapsed(store.until - store.since)
            yield finding("forecast", "history", Health.OK, f"{since} of it, up to {elapsed(age)} ago")
