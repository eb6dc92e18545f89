"""Bodies in processes of their own: how one is started, what runs in it, how it ends, and how its caller sees it.

`perago run` and a worker's executors use it alike. It may import `worker.process`, `attempt` and `tasks`.
"""
