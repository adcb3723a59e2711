"""Moves that no failure asks for: back home, a fairer spread, guests that idle."""
