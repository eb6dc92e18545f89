"""The lakeFS server's API: client, answers, errors and commits.

Imports `perago.http` and values; knows nothing of workspaces or publications.
"""

from perago.http import need

need("aiohttp", "lakefs")  # here, since the provider is loaded for a git repository, too
