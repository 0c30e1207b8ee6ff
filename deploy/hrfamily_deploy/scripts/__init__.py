"""One file a command: `add_arguments`, `run`."""
