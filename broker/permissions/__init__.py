"""Permissions: what a plugin asks for, what its user granted, and the one check between the two."""

DATA = "data"  # folder of the plugins' own data folders, in the state folder
