"""Models over HTTP: the application, and what runs a model behind it."""
