"""Task engines."""
