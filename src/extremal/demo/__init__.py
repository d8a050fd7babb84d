"""The tour of all areas."""
