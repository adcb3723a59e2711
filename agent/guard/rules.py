"""Every rule by which the guard judges, in the order they are told."""

from __future__ import annotations

# Importing them puts their rules into RULES, in this order.
from agent.guard import rules_for_churn, rules_for_leisure, rules_for_plan, rules_for_targets, rules_for_ways
from agent.guard.registry import RULES

__all__ = ["RULES", "rules_for_churn", "rules_for_leisure", "rules_for_plan", "rules_for_targets", "rules_for_ways"]
