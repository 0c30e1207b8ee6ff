"""Training: the loop that `hrfamily train` runs, and what people expect of it beside steps and checkpoints."""

import paddleseg  # noqa: F401  first: the import ends in registration, which needs the modules of this folder whole
