"""Examining a repository: leftovers of killed attempts, and what is missing or damaged."""

from perago.stores.git.examine.examination import Examination

__all__ = ["Examination"]
