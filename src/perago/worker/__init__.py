"""`perago start`: a supervisor, the executors that run its attempts, and the processes of their bodies.

Each room imports only those below it: supervisor, attempts, executor, body, process. `configuration` makes them all of
the settings.
"""
