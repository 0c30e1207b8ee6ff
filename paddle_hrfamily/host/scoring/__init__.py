"""Measures of a trained network, per class, per depth, per organ."""
