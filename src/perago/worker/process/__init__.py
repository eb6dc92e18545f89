"""Child processes: messages, the zygote that forks them, the reaper that ends them.

Knows no tasks: it must not import `perago.tasks` or the folders above it.
"""
