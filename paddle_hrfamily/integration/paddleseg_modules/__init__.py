"""Joins the package paddleseg: `python -m paddleseg.train` and its like are the modules of this folder."""
