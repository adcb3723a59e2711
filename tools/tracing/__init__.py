"""One id from the look in which a signal raised a risk to the last record in the audit log; log lines that carry it."""
