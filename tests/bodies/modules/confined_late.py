"""Imported by a body that runs already."""

WORD = "late"
