"""Escapes that a confined plugin tries. Each attempt returns what it got, or fails; it runs inside the confinement.

An attempt is a function of `World`. What it returns is the evidence of an escape, empty for none; an `OSError` is the
kernel's no. The tests look at the outside as well, and do not take the plugin's word for it.
"""
