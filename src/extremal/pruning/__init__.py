"""Pruning and retraining."""
