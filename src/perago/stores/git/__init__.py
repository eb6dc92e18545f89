"""The embedded store: a bare git repository."""
