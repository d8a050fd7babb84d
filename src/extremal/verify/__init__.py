"""Independent checkers of certificates."""
