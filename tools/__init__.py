"""The hands: one adapter per outside thing, each behind a Protocol of `tools.ports`."""
