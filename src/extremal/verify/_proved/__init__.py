"""Checkers of proved kinds: exact arithmetic with the standard library only."""
