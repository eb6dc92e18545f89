"""Workers on a Conductor server, compared with conductor-python's runner and the reference."""
