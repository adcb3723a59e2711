"""The words of lifeboat as frozen types, and the decisions that need no I/O, clock or environment."""
