"""The cache of a run here."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from perago.attempt.reuse import RunCache
from perago.engines.local import LocalEngine
from perago.settings import RuntimeConfig
from perago.settings.user_directories import find_state_directory
from perago.stores.provider import RepositoryAddress
from perago.stores.table import provider_of
from perago.tasks.declare import TaskDefinition
from perago.values.models import AttemptIdentity

if TYPE_CHECKING:
    from perago.index.results import IndexedResults

_LOGGER = logging.getLogger("perago.run")


def results_of(address: RepositoryAddress) -> IndexedResults | None:
    """The earlier results of a repository, as this host knows them."""
    from perago.index.results import earlier_results

    settings = address.settings
    place, is_server = provider_of(settings.kind).queue_key(settings)
    return earlier_results(find_state_directory(), place, is_server=is_server, tell=_LOGGER.warning)


def cache_of_run(
    task: TaskDefinition,
    address: RepositoryAddress | None,
    config: RuntimeConfig,
    engine: LocalEngine,
    identity: AttemptIdentity,
    *,
    recomputes: bool,
) -> RunCache | None:
    """The cache for one try; None if the task has none, or it is turned off."""
    mode = config.run_cache or "observed"
    if task.cache is None or address is None or mode == "off":
        return None
    results = results_of(address)
    if results is None:
        return None
    return RunCache(
        results=results,
        mode=mode,
        recomputes=recomputes,
        reached=lambda: engine.sandbox_of(identity),
    )
