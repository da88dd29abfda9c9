"""Permissions: what a plugin asks for, what its user granted, and the one check between the two."""
