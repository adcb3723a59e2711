"""The doctor's check of a database that several lifeboats share."""

from __future__ import annotations

from collections.abc import Iterator

from agent.doctor.examine import CheckContext, Finding, Health, finding
from models.text import listed, seconds_in_words, visible
from tools.journal import read_database_facts


def check_database(context: CheckContext) -> Iterator[Finding]:
    """It can be written to and keeps what it took; who leads, and who stands by. Nothing where no database is shared."""
    url, lease = context.settings.database_url, context.settings.lease.total_seconds()
    if url is None:
        return
    facts = read_database_facts(url)
    if facts.keeps_what_it_took:
        yield finding("database", "PostgreSQL", Health.OK, f"{facts.name} ({facts.version}) can be written")
    else:
        what = f"{facts.name} loses what it took when its host fails: fsync or full_page_writes is off"
        yield finding(
            "database", "PostgreSQL", Health.FAIL, what, "switch both on: a record has to be on disk before the act"
        )
    silent = facts.leader_silent_seconds
    if facts.leader and silent < lease:
        yield finding("database", "leader", Health.OK, f"{visible(facts.leader, 60)} leads")
    else:
        gone = (
            f"{visible(facts.leader, 60)} led until {seconds_in_words(silent)} ago" if facts.leader else "nobody leads"
        )
        yield finding("database", "leader", Health.WARN, gone, "start `lifeboat run` on two hosts or more")
    agents = [f"{visible(name, 60)}{f' on {visible(node, 60)}' if node else ''}" for name, node in facts.agents.items()]
    if len(agents) > 1:
        yield finding("database", "agents", Health.OK, listed(agents))
    else:
        what = f"{agents[0]} alone" if agents else "no `lifeboat run` is there"
        yield finding(
            "database", "agents", Health.WARN, what, "nobody takes over when it is gone: start another elsewhere"
        )
