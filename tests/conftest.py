"""Puts this folder on the import path, so that every kind of test shares the scenes of `tests/scenes/`."""
