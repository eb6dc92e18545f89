"""A publication on lakeFS: stage, fence, merge, and read the history back.

Imports `content` and `api`. The store, above it, gives the port its methods.
"""
