"""Static graphs: written, run, compared."""
