"""HTTP for adapters: total deadlines, safe retries, and faults without secrets, over two established clients.

`sync` makes calls in the caller's thread (urllib3, for Conductor), `session` on an event loop (aiohttp, for lakeFS).
Both are imported late. The modules here may import values, errors and each other.
"""

from importlib.util import find_spec

from perago.errors import RuntimeConfigError


def need(package: str, extra: str) -> None:
    """Check that a package of an extra is installed.

    Raises:
        RuntimeConfigError: it is not; the message says how to install it.
    """
    if find_spec(package) is None:
        raise RuntimeConfigError(
            f"the package {package} is required but not installed; install Perago with its extra {extra!r}, such as "
            f"with `pip install 'perago[{extra}]'`"
        )
