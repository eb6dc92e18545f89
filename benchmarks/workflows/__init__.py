"""The cost of a workflow beyond its tasks, here and on Conductor."""
