"""What runs a graph, where, and how that is chosen."""
