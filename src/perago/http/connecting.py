"""Connections: the connect timeout, trusted certificates, and TLS faults."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator

from perago.http.faults import FaultKind, HttpFault

CONNECT_SECONDS = 10.0
"""Limit for making a connection, including TLS."""


def trusting(ca_file: str | os.PathLike[str] | None) -> ssl.SSLContext:
    """A TLS context that trusts the system's certificates, or those of `SSL_CERT_FILE`, and those in `ca_file`.

    Raises:
        OSError: the file cannot be read, or contains no certificates.
    """
    context = ssl.create_default_context()
    if ca_file is not None:
        context.load_verify_locations(cafile=os.fspath(ca_file))
    return context


def fault_of_tls(error: BaseException) -> HttpFault:
    """The fault for a TLS or certificate error."""
    reasons = (_reason(each) for each in (error, *_causes(error)))
    reason = next((each for each in reasons if each), type(error).__name__)
    return HttpFault(FaultKind.TLS, f"no TLS connection: {reason}")


def _reason(error: object) -> str:
    values = (getattr(error, name, None) for name in ("verify_message", "reason"))
    return next((value for value in values if isinstance(value, str) and value), "")


def _causes(error: BaseException) -> Iterator[object]:
    yield getattr(error, "certificate_error", None)
    yield getattr(error, "os_error", None)
    yield error.__cause__
