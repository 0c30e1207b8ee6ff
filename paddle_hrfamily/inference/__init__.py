"""What a trained network makes of images and videos."""

import paddleseg  # noqa: F401  first: the import ends in registration, which needs the modules of this folder whole
