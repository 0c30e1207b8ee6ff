"""Exported networks in other forms: ONNX, Triton, eight bits."""
