"""Comparisons over several seeds: what to run, running it so that it can be stopped at any moment, and the table."""
