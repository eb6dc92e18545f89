"""Questions about the history of a repository: who made a file, from what, what came of it, and what differs.

`past` reads the commits and keeps what they changed in the index of history. The other modules are plain functions of
what it has read, except `revert`, which publishes a commit.
"""
