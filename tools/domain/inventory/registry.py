"""Where handlers are registered, by the path of the element they account for."""

from __future__ import annotations

from collections.abc import Callable

from tools.domain.inventory.walk import Handler

REGISTERED: dict[str, Handler] = {}


def accounts_for(*paths: str) -> Callable[[Handler], Handler]:
    """Register a handler for the elements at these paths, as `known.py` writes them."""

    def register(handler: Handler) -> Handler:
        REGISTERED.update(dict.fromkeys(paths, handler))
        return handler

    return register
