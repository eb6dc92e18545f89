"""Workers on a Conductor server, beside conductor-python's own runner and the reference."""
