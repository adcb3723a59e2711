"""What is configured, and by what."""
