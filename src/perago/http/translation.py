"""Converting aiohttp's exceptions to faults. Their texts can contain presigned URLs, which are credentials."""

from __future__ import annotations

import errno
import os
import ssl

import aiohttp

from perago.http.connecting import CONNECT_SECONDS, fault_of_tls
from perago.http.faults import FaultKind, HttpFault


class translated:  # noqa: N801 - reads as a statement; a class, because a generator makes each small call slower
    """A `with` block that converts exceptions of aiohttp and the system to `HttpFault`."""

    __slots__ = ()

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, aiohttp.ClientError | TimeoutError | OSError | ValueError):
            raise _fault_of(error) from None


_TLS = (aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError, ssl.SSLError)
_UNREACHABLE = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
_CUT = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, aiohttp.ClientPayloadError, ConnectionError)


def _fault_of(error: Exception) -> HttpFault:
    if isinstance(error, _TLS):
        return fault_of_tls(error)
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return HttpFault(FaultKind.UNREACHABLE, f"the proxy answered {error.status}")
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return HttpFault(FaultKind.UNREACHABLE, f"the proxy cannot be reached: {_reason(error)}")
    if isinstance(error, _UNREACHABLE):
        return HttpFault(FaultKind.UNREACHABLE, f"no connection: {_reason(error)}")
    if isinstance(error, TimeoutError):
        return HttpFault(FaultKind.TIMEOUT, "no complete answer in time")
    if isinstance(error, _CUT):
        return HttpFault(FaultKind.CUT, "the connection was closed before the answer was complete")
    return HttpFault(FaultKind.MALFORMED, f"the answer is not valid HTTP ({type(error).__name__})")


def _reason(error: Exception) -> str:
    number = getattr(error, "errno", None)
    if isinstance(error, TimeoutError):
        return f"timeout after {CONNECT_SECONDS:g} s"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "unknown host name"
    return os.strerror(number) if isinstance(number, int) and number in errno.errorcode else type(error).__name__
