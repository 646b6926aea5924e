"""Origins of browsers, read strictly: whatever a browser would not send is no origin. Pure."""

from __future__ import annotations

import re

ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::([1-9][0-9]{0,4}))?", re.ASCII)
HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::([1-9][0-9]{0,4}))?", re.ASCII)
PORTS = {"http": 80, "https": 443}

Origin = tuple[str, str, int | None]
"""Scheme, host and port in one spelling."""


def parse_origin(text: str) -> Origin | None:
    """`scheme://host[:port]` in lower case, the default port filled in; None for all else, "null" included."""
    found = ORIGIN.fullmatch(text.lower()) if text.isascii() and len(text) <= 300 else None
    if found is None:
        return None
    scheme, host, port = found.groups()
    number = int(port) if port else PORTS.get(scheme)
    return None if number is not None and number > 65_535 else (scheme, host, number)


def same_host(origin: Origin, host: str | None) -> bool:
    """Whether an origin is that of a Host header.

    The scheme is the browser's word: behind a proxy that ends TLS the application does not know its own.
    """
    scheme, name, port = origin
    if scheme not in PORTS or not host or not host.isascii():
        return False
    found = HOST.fullmatch(host.lower())
    return found is not None and (found[1], int(found[2]) if found[2] else PORTS[scheme]) == (name, port)
