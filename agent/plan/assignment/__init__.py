"""Which option each vm gets."""
