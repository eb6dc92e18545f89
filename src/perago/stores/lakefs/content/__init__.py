"""Moving bytes to and from a lakeFS server and its block store: download, upload, checksums.

Imports `api`, `perago.http` and the workspace.
"""
