"""The mind, in the order that data flows: observe → assess → plan → guard → approve → execute → verify → report."""
