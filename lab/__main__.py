"""`python -m lab`: the same as `lifeboat lab`."""

from lab.cli import app

app()
