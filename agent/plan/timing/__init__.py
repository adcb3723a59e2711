"""What beside what, and how long it all takes."""
