"""An attempt as the supervisor sees it: the job, the executor port and its two implementations, the journal.

Imports `executor` for its messages; only `in_thread` runs tasks here.
"""
