"""Looking after a repository: what killed attempts left in it, and what is missing or damaged."""

from perago.stores.git.examine.examination import Examination

__all__ = ["Examination"]
