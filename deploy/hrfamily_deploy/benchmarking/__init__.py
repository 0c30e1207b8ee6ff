"""Timing exported networks, each in a process of its own."""
