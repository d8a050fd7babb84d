"""Data sets, networks and one readable training loop."""
