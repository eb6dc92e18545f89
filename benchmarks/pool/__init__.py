"""HTTP clients, and what each takes to move many small objects from and to a lakeFS server."""
