"""HTTP clients that transfer many small objects from and to a lakeFS server."""
