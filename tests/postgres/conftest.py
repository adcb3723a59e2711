"""On a real PostgreSQL of their own."""

from __future__ import annotations

from scenes.postgres_server import postgres_server  # noqa: F401  a fixture
