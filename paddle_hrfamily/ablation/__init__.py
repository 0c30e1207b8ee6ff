"""Comparisons over several seeds or folds: what to run, running it so that it can be stopped at any time, the table."""
