"""Processes of our own: starting, forking, watching and ending them, and the messages that they exchange.

Nothing in here knows a task. It may import `attempt.output`, `redaction`, `json_text` and what lies below them.
"""
