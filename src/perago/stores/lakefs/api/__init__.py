"""The lakeFS server's API: client, answers, errors and commits.

Imports `perago.http` and values; knows nothing of workspaces or publications.
"""
