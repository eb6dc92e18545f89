"""The suite that every store must pass. It keeps the in-memory store faithful to the real ones."""

from __future__ import annotations

from perago.testing.contract.store_history import HistoryContract
from perago.testing.contract.store_input import InputContract
from perago.testing.contract.store_merge import MergeContract
from perago.testing.contract.store_outputs import OutputsContract
from perago.testing.contract.store_publish import PublishContract
from perago.testing.contract.store_races import RaceContract
from perago.testing.contract.store_reads import ReadsContract
from perago.testing.contract.store_stage import StageContract


class StoreContract(
    InputContract,
    HistoryContract,
    StageContract,
    PublishContract,
    ReadsContract,
    MergeContract,
    OutputsContract,
    RaceContract,
):
    """Tests of a store's ports; `bench.StoreHooks` has the hooks for a subclass."""
