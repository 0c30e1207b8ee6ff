"""Checkpoints that survive a kill at any moment, and training that goes on from them exactly."""
