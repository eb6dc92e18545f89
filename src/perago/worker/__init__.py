"""`perago start`: a supervisor, executors that run its attempts, and the processes of their bodies.

Each folder imports only those after it: supervisor, attempts, executor, body, process. `configuration` creates them
from the settings.
"""
