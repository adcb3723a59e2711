"""A BMC's event log: its records, what they mean, and when they were written."""
