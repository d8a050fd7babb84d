"""T-curves."""
