"""What task authors, and Perago itself, test with."""

from perago.testing.clock import ManualClock
from perago.testing.engine import MemoryAttempt, MemoryEngine
from perago.testing.store import MemoryStore

__all__ = ["ManualClock", "MemoryAttempt", "MemoryEngine", "MemoryStore"]
