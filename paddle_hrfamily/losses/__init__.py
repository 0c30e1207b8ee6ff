"""Losses that derive from the labels what each output is to learn."""
