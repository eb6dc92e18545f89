"""What adapters need of HTTP: one pool for calls and bytes, deadlines, safe retries, and no secret in any fault.

The modules here load aiohttp; import them late.
"""

from importlib.util import find_spec

from perago.errors import RuntimeConfigError


def need_aiohttp(extra: str) -> None:
    """See to it that aiohttp is there, which comes with an extra.

    Raises:
        RuntimeConfigError: it is not; says how to install it.
    """
    if find_spec("aiohttp") is None:
        raise RuntimeConfigError(
            f"this takes the package aiohttp, which is not installed here; install Perago with its extra {extra!r}, "
            f"such as by `pip install 'perago[{extra}]'`"
        )
