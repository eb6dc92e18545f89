"""Processes of ours: messages, the zygote that forks them, the reaper that ends them.

Knows no tasks: it may import nothing of `perago.tasks`, nor the rooms above it.
"""
