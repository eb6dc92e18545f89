"""Perago's own files on this host: private directories, durable writes, locks, opening beneath a directory.

Imports values and errors; knows neither workspaces nor engines.
"""
