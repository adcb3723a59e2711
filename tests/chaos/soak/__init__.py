"""A day of a large fleet at high speed: `python -m chaos.soak`."""
