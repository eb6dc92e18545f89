"""What a process of its own costs a body."""
