"""What a model sees of a unit: numbers from what was known at that moment."""
