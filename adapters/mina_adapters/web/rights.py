"""Who may do what: nothing is open unless the host's `authorize` says yes, and tenants do not know of each other."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

from mina_pipeline import InvalidInput, Pipeline, Session, SessionNotFound
from mina_pipeline.inputs import identifier
from mina_pipeline.log import logger

from .errors import refusal, unknown
from .origins import parse_origin, same_host
from .replies import Principal
from .settings import WebSettings

__all__ = ["ACTIONS", "Authorize", "Principal", "Rights"]

ACTIONS = ("start", "record", "finalize", "read", "retry", "cancel", "change_task", "watch_dashboard")

Authorize = Callable[[Any, Session | None, str], bool]
"""(principal, session, action) -> bool; session is None for watch_dashboard, and for start with a new id."""


class Rights:
    """The host's `authorize`, asked each time; all refusals are WebErrors.

    Only True lets in. One that raises is logged by its type and answered as a fault of the server's.
    """

    def __init__(self, pipeline: Pipeline, authorize: Authorize, settings: WebSettings) -> None:
        self.pipeline = pipeline
        self.authorize = authorize
        self.settings = settings
        self.origins = {parse_origin(origin) for origin in settings.origins}

    def known(self, principal: Principal | None) -> Principal:
        """Somebody, with an id that can be an actor; 401 for nobody."""
        if principal is None:
            raise refusal("Unauthenticated")
        try:
            identifier("id", principal.id)
            if principal.tenant is not None:
                identifier("tenant", principal.tenant)
        except (AttributeError, ValueError) as error:
            logger(__name__).error("a principal has no usable id and tenant", error_type=type(error).__name__)
            raise refusal("InternalError") from None
        return principal

    def allows(self, principal: Principal, session: Session | None, action: str) -> bool:
        """Whether the session is of the principal's tenant and the host says yes."""
        if session is not None and session.tenant != principal.tenant:
            return False
        try:
            said: Any = self.authorize(principal, session, action)
        except Exception as error:
            logger(__name__).error("authorize failed", action=action, error_type=type(error).__name__)
            raise refusal("InternalError") from None
        if inspect.iscoroutine(said):
            said.close()
        if not isinstance(said, bool):
            logger(__name__).error("authorize gave no bool: refused", action=action, given=type(said).__name__)
        return said is True

    def require(
        self, principal: Principal, session: Session | None, action: str, asked: str | int | None = None
    ) -> None:
        """Refuse what is not allowed: 404 where the principal may not know of the session, else 403.

        asked: the id that the caller used, to be repeated in the refusal.
        """
        if self.allows(principal, session, action):
            return
        if session is not None and (action == "read" or not self.allows(principal, session, "read")):
            raise unknown(session.session_id if asked is None else asked)
        raise refusal("Forbidden", action=action)

    def find(self, principal: Principal, session_id: str | int, action: str, *, integer_first: bool = False) -> Session:
        """The session, where the principal may do that; another tenant's is as unknown as one that is not there.

        A str is a session id or else, all digits, an integer id (integer_first: the other way round).
        """
        for candidate in self.candidates(session_id, integer_first):
            session = self.look(candidate)
            if session is not None and session.tenant == principal.tenant:
                self.require(principal, session, action, session_id)
                return session
        raise unknown(session_id)

    def look(self, session_id: str | int) -> Session | None:
        try:
            return self.pipeline.get(session_id)
        except SessionNotFound:
            return None

    def candidates(self, given: str | int, integer_first: bool) -> Iterator[str | int]:
        """What an id may mean. One that leads to another tenant's session does not stand in the way of the next."""
        if isinstance(given, bool) or not isinstance(given, (int, str)):
            raise InvalidInput("session_id", "a text, or a whole number")
        text, number = (None, given) if isinstance(given, int) else (given, whole(given))
        if text is not None and not integer_first:
            yield text
        if number is not None:
            find = self.settings.find_session
            found = number if find is None else find(number)
            if found is not None:
                yield found
        if text is not None and integer_first:
            yield text

    def check_origin(self, origin: str | None, host: str | None) -> None:
        """403 for a foreign origin. origin: the header, several joined by a comma; None: it is no browser."""
        if origin is None:
            return
        parsed = parse_origin(origin)
        if parsed is not None and (parsed in self.origins or (self.settings.same_origin and same_host(parsed, host))):
            return
        raise refusal("OriginRefused")


def whole(text: str) -> int | None:
    """An integer id as people and programs write it: no sign, no leading zeros, at most 18 digits."""
    plain = text.isascii() and text.isdigit() and len(text) <= 18 and (text == "0" or text[0] != "0")
    return int(text) if plain else None
