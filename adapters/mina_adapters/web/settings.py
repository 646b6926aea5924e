"""What a host may set of the web doors."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, fields

from mina_pipeline import InvalidInput
from mina_pipeline.guarantees import Guarantees

from .origins import parse_origin

PREFIX = re.compile(r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._~-]+)*", re.ASCII)
NAMESPACE = re.compile(r"/[A-Za-z0-9._~/-]*", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class WebSettings:
    """Bounds, names and openings of the web doors; InvalidInput says which one makes no sense.

    prefix: before every URL, "/meetings" say.
    origins: browsers' origins that are let in, "https://app.example" say; same_origin: also the request's own host.
    find_session: a host's own integer ids to session ids (or our integer ids); None: there is none. Default: ours.
    html_safe: escape & < > " in what the detail page fetches, since pages put it in by innerHTML.
    max_body, max_message: bytes of an HTTP body, and of one socket message, that are taken.
    thin_over: bytes of one event going out over which big fields are left out, and href says where they are.
    rate, burst: requests a second by principal, and at once; message_rate, message_burst: messages by socket.
    max_joins: sessions that one socket may watch; max_watches: streams and sockets that a principal may have open in
    this process (0: no bound).
    keep_alive: seconds between signs of life on an idle stream; stalled: seconds that a client may take no bytes
    before it is dropped, to resume by version.
    """

    prefix: str = ""
    origins: Collection[str] = ()
    same_origin: bool = True
    page_namespace: str = "/"
    live_namespace: str = "/live"
    recorder_namespace: str = "/live-transcription"
    find_session: Callable[[int], str | int | None] | None = None
    html_safe: bool = True
    max_body: int = 2_000_000
    max_message: int = 256_000
    thin_over: int = 256_000
    rate: float = 200.0
    burst: int = 1_000
    message_rate: float = 50.0
    message_burst: int = 200
    max_joins: int = 50
    max_watches: int = 1_000
    keep_alive: float = 15.0
    stalled: float = 30.0

    @property
    def stream_guarantees(self) -> Guarantees:
        """What SSE and our own WebSocket hold to, with these settings."""
        return Guarantees(early=False, slow="dropped", thin_over=self.thin_over)

    @property
    def socket_guarantees(self) -> Guarantees:
        """What Socket.IO holds to, with these settings."""
        return Guarantees(slow="dropped", thin_over=self.thin_over, many=True)

    def __post_init__(self) -> None:
        if not PREFIX.fullmatch(self.prefix):
            raise InvalidInput("prefix", 'empty, or like "/meetings": it begins with a slash and ends without one')
        names = [self.page_namespace, self.live_namespace, self.recorder_namespace]
        if len(set(names)) < len(names) or not all(map(NAMESPACE.fullmatch, names)):
            raise InvalidInput("namespaces", 'three different ones, each like "/live"')
        if isinstance(self.origins, str) or any(parse_origin(origin) is None for origin in self.origins):
            raise InvalidInput("origins", 'a list of origins such as "https://app.example"; there are no wildcards')
        for field in fields(self):
            value = getattr(self, field.name)
            least = 0 if field.name == "max_watches" else 1 if isinstance(field.default, int) else 1e-6
            if isinstance(value, (int, float)) and not isinstance(value, bool) and not least <= value < 2**53:
                raise InvalidInput(field.name, "must be above 0")
