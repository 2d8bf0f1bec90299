"""StackSpot, against a strict fake of it."""
