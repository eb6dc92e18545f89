"""Versioned stores. Sibling packages have the same file names."""
