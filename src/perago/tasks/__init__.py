"""Declaration of tasks: decorator, controls, guards, loading, TaskDef."""
