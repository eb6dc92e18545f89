"""One attempt, from input to result. No I/O of its own: everything outside is passed in as a callable."""
