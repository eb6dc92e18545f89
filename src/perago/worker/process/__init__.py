"""Child processes: messages, the zygote that forks them, the reaper that ends them.

Knows no tasks: it imports neither `perago.tasks` nor the folders above it. Only `attempt.output`, which words failures,
knows them.
"""
