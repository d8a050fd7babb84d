"""The floor: errors, run folders, records, seeds, executors, progress, plots, report."""
