"""One attempt, from input to result. Pure of I/O: everything outside comes in as a callable."""
