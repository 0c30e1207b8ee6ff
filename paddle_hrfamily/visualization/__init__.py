"""Reading, drawing and writing images."""
