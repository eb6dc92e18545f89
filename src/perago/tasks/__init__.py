"""Declaring tasks: the decorator, controls, guards, loading, TaskDef."""
