"""What task authors, and Perago itself, test with."""
