"""`perago start`: a supervisor, executors that run its attempts, and the processes of their bodies.

Each folder imports only those before it: process, body, executor, attempts, supervisor. `configuration` creates them
from the settings.
"""
