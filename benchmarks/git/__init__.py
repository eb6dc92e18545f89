"""Attempts on the git store, beside git itself."""
