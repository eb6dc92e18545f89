"""Many writers of one branch: publications a second, and lost swaps, with and without the host's queue."""
