"""The suite that every store has to pass. It pins what the in-memory store claims about the real ones."""

from __future__ import annotations

from perago.testing.contract.store_history import HistoryContract
from perago.testing.contract.store_input import InputContract
from perago.testing.contract.store_merge import MergeContract
from perago.testing.contract.store_publish import PublishContract
from perago.testing.contract.store_races import RaceContract
from perago.testing.contract.store_stage import StageContract


class StoreContract(InputContract, HistoryContract, StageContract, PublishContract, MergeContract, RaceContract):
    """Tests of a store's ports; see `bench.StoreHooks` for what a subclass has to say."""
