"""Workspaces on disk: attempt directory, owner marker, manifest, diff, janitor, the host's object cache.

Imports `files`, values and ports; knows neither stores nor engines.
"""
