"""Publication on lakeFS: stage, fence, merge, and reading the history.

Imports `content` and `api`. The store, one folder up, uses it to implement the port.
"""
