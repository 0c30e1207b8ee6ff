"""A user's own data set, in the layout that it lies in: found, read, drawn into label maps, and split."""
