"""Serializable tasks beside each other: the cost of validating their reads, and what it saves."""
