"""What goes wrong with a model call, sorted once: what is done about it, and the word that is kept of it. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from math import isfinite

from ..errors import MinaError


class Verdict(StrEnum):
    """What is done about a failed call."""

    RETRY = "retry now"
    WAIT = "wait until"
    GIVE_UP = "give up"
    DEGRADE = "degrade"
    SPLIT = "split"


class CallFailed(MinaError):
    """A call of the model's server came to nothing. The message holds no text of the prompt, nor of the answer.

    reason: a word or two that may be kept for ever; status: HTTP's, None where there was none; code: the server's own
    word, where it is one; retry_after: seconds; in_doubt: the server may have worked on it, and may charge for it.
    """

    def __init__(
        self,
        verdict: Verdict,
        reason: str,
        *,
        status: int | None = None,
        code: str | None = None,
        retry_after: float | None = None,
        in_doubt: bool = False,
    ) -> None:
        seen = " ".join(str(part) for part in (status, code and f"({code})") if part)
        super().__init__(f"the model's server answered {seen}: {reason}" if seen else f"model call: {reason}")
        self.verdict = verdict
        self.reason = reason
        self.status = status
        self.code = code
        self.retry_after = retry_after
        self.in_doubt = in_doubt


class GaveUp(CallFailed):
    """The server refuses what we ask, and would again: key, model or request are wrong."""


class Cancelled(MinaError):
    """Nobody waits for the answer any more: the deadline has passed, or the work is another's."""

    def __init__(self) -> None:
        super().__init__("the model call was cut off")


@dataclass(frozen=True)
class Row:
    """What an answer of this status means; codes and words narrow it down, None fits any.

    codes: of the server's error; words: a pattern in its message, for servers that give no code.
    """

    statuses: range
    verdict: Verdict
    reason: str
    codes: frozenset[str] | None = None
    words: re.Pattern[str] | None = None

    def fits(self, status: int, codes: frozenset[str], message: str) -> bool:
        if status not in self.statuses:
            return False
        if self.codes is None and self.words is None:
            return True
        by_code = self.codes is not None and bool(codes & self.codes)
        return by_code or (self.words is not None and self.words.search(message) is not None)


def only(status: int) -> range:
    return range(status, status + 1)


NO_MONEY = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "quota_exceeded"})
TOO_LONG = frozenset({"context_length_exceeded", "exceed_context_size_error", "string_above_max_length"})
REFUSED = frozenset({"content_filter", "content_policy_violation", "invalid_prompt"})
TOO_LONG_WORDS = re.compile(r"context (?:length|size|window)|too many tokens|prompt is too long|too long", re.I)

TABLE = (
    Row(only(402), Verdict.DEGRADE, "quota"),
    Row(only(429), Verdict.DEGRADE, "quota", codes=NO_MONEY),
    Row(only(429), Verdict.RETRY, "rate limit"),
    Row(only(413), Verdict.SPLIT, "too long"),
    Row(only(400), Verdict.SPLIT, "too long", codes=TOO_LONG, words=TOO_LONG_WORDS),
    Row(only(400), Verdict.DEGRADE, "refusal", codes=REFUSED),
    Row(only(400), Verdict.GIVE_UP, "bad request"),
    Row(only(401), Verdict.GIVE_UP, "key refused"),
    Row(only(403), Verdict.GIVE_UP, "not allowed"),
    Row(only(404), Verdict.GIVE_UP, "not found"),
    Row(only(408), Verdict.RETRY, "timeout"),
    Row(only(409), Verdict.RETRY, "outage"),
    Row(only(425), Verdict.RETRY, "outage"),
    Row(range(500, 600), Verdict.RETRY, "outage"),
    Row(range(300, 500), Verdict.GIVE_UP, "bad request"),
)
"""The first row that fits holds. What is tried again waits first where the server says for how long: `wait until`."""

_CODE = re.compile(r"[A-Za-z0-9_.\-]{1,60}")


def judge(
    status: int, codes: tuple[object, ...], message: str, headers: Mapping[str, str], now: datetime
) -> CallFailed:
    """The failure that an HTTP answer is. codes: the server's `code` and `type`; message: read, never shown."""
    known = frozenset(code for code in codes if isinstance(code, str) and _CODE.fullmatch(code))
    row = next((row for row in TABLE if row.fits(status, known, message)), None)
    verdict, reason = (row.verdict, row.reason) if row else (Verdict.GIVE_UP, "bad request")
    after = retry_after(headers, now) if verdict is Verdict.RETRY else None
    if after is not None:
        verdict = Verdict.WAIT
    code = next((code for code in codes if isinstance(code, str) and code in known), None)
    kind = GaveUp if verdict is Verdict.GIVE_UP else CallFailed
    return kind(verdict, reason, status=status, code=code, retry_after=after)


def unreachable() -> CallFailed:
    """No connection came about, so that nothing was asked."""
    return CallFailed(Verdict.RETRY, "outage")


def broken_off() -> CallFailed:
    """The connection ended in the middle."""
    return CallFailed(Verdict.RETRY, "outage", in_doubt=True)


def overdue() -> CallFailed:
    """The whole call took too long, which trying again at once would as well."""
    return CallFailed(Verdict.WAIT, "timeout", in_doubt=True)


def unusable() -> CallFailed:
    """An answer that is no JSON, or not of the schema."""
    return CallFailed(Verdict.RETRY, "unusable answer", in_doubt=True)


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds until the server wants to be asked again: retry-after-ms, or Retry-After in seconds or as a date.

    headers: looked up in lower case. None where it says nothing that reads so; never below 0.
    """
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        text = headers.get(name)
        if text is None:
            continue
        try:
            seconds = float(text) / unit
        except ValueError:
            seconds = until(text, now)
        if isfinite(seconds):
            return max(0.0, seconds)
    return None


def until(date: str, now: datetime) -> float:
    try:
        then = parsedate_to_datetime(date)
        return (then if then.tzinfo else then.replace(tzinfo=UTC)).timestamp() - now.timestamp()
    except (ValueError, TypeError, OverflowError):
        return float("nan")
