"""For every test."""

# skops looks up each function it knows in every module loaded so far. First of all, while these are few: a second less.
import skops.io  # noqa: F401
