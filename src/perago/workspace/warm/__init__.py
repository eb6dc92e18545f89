"""Warm workspaces: directories that attempts left laid out, for later ones, which lay out only what differs.

`place` has the directories of a workspace root, `compare` decides which files stay, `record` is what is known of them,
`clock` and `mounts` say whether the system can be trusted with that. Imports nothing of the cache.
"""
