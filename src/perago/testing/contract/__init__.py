"""Contract suites: classes of tests that every store and every engine must pass.

pytest runs them, but nothing here needs it to be imported. Subclass one in a test module, under a name that pytest
collects. Its hooks create your store or engine and inspect it:

    from perago.testing.contract import StoreContract

    class TestMyStore(StoreContract):
        def make_store(self, directory): ...
"""

from perago.testing.contract.framework import pytest

_MODULES = (
    "bench",
    "engine",
    "store_completing",
    "store_history",
    "store_input",
    "store_merge",
    "store_publish",
    "store_races",
    "store_reads",
    "store_reuse",
    "store_runs",
    "store_stage",
    "tree",
    "workflow",
)
pytest.register_assert_rewrite(*(f"{__name__}.{module}" for module in _MODULES))

from perago.testing.contract.bench import Bench, Staged, Work  # noqa: E402 - after the registration of assert rewriting
from perago.testing.contract.engine import EngineContract  # noqa: E402 - as above
from perago.testing.contract.store import StoreContract  # noqa: E402 - as above
from perago.testing.contract.store_completing import CompletingStoreContract  # noqa: E402 - as above
from perago.testing.contract.store_reuse import ReusableStoreContract  # noqa: E402 - as above
from perago.testing.contract.store_runs import TransactionalStoreContract  # noqa: E402 - as above
from perago.testing.contract.tree import TreeContract  # noqa: E402 - as above
from perago.testing.contract.workflow import WorkflowContract  # noqa: E402 - as above

__all__ = [
    "Bench",
    "CompletingStoreContract",
    "EngineContract",
    "ReusableStoreContract",
    "Staged",
    "StoreContract",
    "TransactionalStoreContract",
    "TreeContract",
    "Work",
    "WorkflowContract",
]
