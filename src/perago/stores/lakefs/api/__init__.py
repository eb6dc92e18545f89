"""The lakeFS server's API: the client, its answers as values, its refusals as errors, its commits.

Imports `perago.http` and values; knows nothing of workspaces or publications.
"""
