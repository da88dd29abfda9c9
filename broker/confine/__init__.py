"""Confinement: every process is started and ended here."""
