"""HTTP for adapters: total deadlines, safe retries, and one kind of fault that shows no secret, over two kept clients.

`sync` makes calls in the caller's thread (urllib3, for Conductor), `session` on an event loop (aiohttp, for lakeFS).
Both are imported late. The modules here may import `perago.errors`, `perago.values.redaction` and each other.
"""

from importlib.util import find_spec

from perago.errors import RuntimeConfigError


def need(package: str, extra: str) -> None:
    """Make sure that a package of an extra is installed.

    Raises:
        RuntimeConfigError: it is not; says how to install it.
    """
    if find_spec(package) is None:
        raise RuntimeConfigError(
            f"this takes the package {package}, which is not installed here; install Perago with its extra {extra!r}, "
            f"such as by `pip install 'perago[{extra}]'`"
        )
