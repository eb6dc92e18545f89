"""Opens the sink for OpenLineage events, if the variables of that standard ask for it. Imports its client only then."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from importlib.util import find_spec

from perago.errors import RuntimeConfigError
from perago.settings.values import read_url
from perago.stores.table import provider_of
from perago.telemetry.instruments import Instrument
from perago.telemetry.sink import Telemetry
from perago.values.redaction import text_of
from perago.values.stores import StoreSettings

URL = "OPENLINEAGE_URL"
CONFIG = "OPENLINEAGE_CONFIG"
DISABLED = "OPENLINEAGE_DISABLED"
NAMESPACE = "OPENLINEAGE_NAMESPACE"
TRANSPORT = "OPENLINEAGE__TRANSPORT"
"""What the names of variables begin with that describe a transport one by one."""

DEFAULT_NAMESPACE = "perago"

_LOGGER = logging.getLogger("perago.telemetry")


def names_of(environment: Mapping[str, str]) -> list[str]:
    """The variables that ask for lineage; none if it is disabled."""
    if environment.get(DISABLED, "").strip().lower() == "true":
        return []
    asking = {name for name in (URL, CONFIG) if environment.get(name)}
    return sorted(asking | {name for name in environment if name.startswith(TRANSPORT)})


def open_lineage(
    environment: Mapping[str, str], store: StoreSettings | None, count: Callable[[Instrument], None]
) -> AbstractContextManager[Telemetry] | None:
    """The sink for lineage; None if nobody asks for it, or its package is not installed. Its end is bounded.

    Args:
        store: of the attempts' workspaces; None without one.
        count: counts what is dropped.

    Raises:
        RuntimeConfigError: the variables are wrong.
    """
    names = names_of(environment)
    if not names:
        return None
    if find_spec("openlineage") is None:
        _LOGGER.warning(
            "%s is set, but no lineage is sent: a package is missing; run `pip install 'perago[lineage]'`", names[0]
        )
        return None
    return _opened(environment, names, store, count)


@contextmanager
def _opened(
    environment: Mapping[str, str], names: list[str], store: StoreSettings | None, count: Callable[[Instrument], None]
) -> Iterator[Telemetry]:
    from perago.telemetry.openlineage import OpenLineageTelemetry, open_client

    try:
        _check(environment)
        client = open_client(environment)
    except Exception as exc:  # the client and its transports raise what they like
        raise RuntimeConfigError(f"{', '.join(names)} (the environment): {text_of(exc)}") from exc
    source_of = None if store is None else partial(provider_of(store.kind).dataset_source, store)
    telemetry = OpenLineageTelemetry(client, environment.get(NAMESPACE) or DEFAULT_NAMESPACE, source_of, count)
    try:
        yield telemetry
    finally:
        loss = telemetry.close()
        if loss.count:
            events = "1 OpenLineage event was" if loss.count == 1 else f"{loss.count} OpenLineage events were"
            _LOGGER.warning("%s dropped: %s", events, loss.why or "the receiver did not take them in time")


def _check(environment: Mapping[str, str]) -> None:
    """Check what the client would only log.

    Raises:
        ValueError: a variable is wrong.
    """
    if environment.get(URL):
        read_url(environment[URL])
    path = environment.get(CONFIG)
    if path and not os.access(path, os.R_OK):
        raise ValueError(f"the file {path} cannot be read")
