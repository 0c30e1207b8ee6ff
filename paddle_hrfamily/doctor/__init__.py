"""What is installed here, and what is known not to work."""
