"""Checkers of recomputed kinds: a deterministic fact repeated from the files."""
