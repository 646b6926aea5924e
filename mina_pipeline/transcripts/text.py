"""Bytes of a file to text, and the times in it."""

from __future__ import annotations

import codecs
import re

from mina_pipeline.errors import TranscriptError

MAX_MS = 2**31 - 1
"""The latest time a segment can have, 596 hours: it fits a 32-bit column everywhere."""

_TIME = re.compile(r"(?:([0-9]+):)?([0-9]{1,2}):([0-9]{2})[.,]([0-9]{1,3})", re.ASCII)
# Only what looks like a time is repeated in an error: anything else might be transcript text.
_TIMELIKE = re.compile(r"[-+]?[0-9][^\s:.,]*[:.,]\S*")
TIMING = re.compile(r"[ \t]*[-+]?[0-9][^\s:.,]*[:.,]\S*[ \t]*-->")
"""A line that is meant as times, well formed or not."""


def decode(data: bytes, source: str) -> str:
    """Decode a file, without byte order mark and NULs; line ends become `\\n`."""
    utf16 = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}.get(data[:2])
    encoding, skip = (utf16, 2) if utf16 else ("utf-8", 3 * data.startswith(codecs.BOM_UTF8))
    if not utf16 and b"\0" in data[:4]:
        raise TranscriptError(
            source,
            1,
            "the file begins with NUL bytes (UTF-16 without a byte order mark?)",
            "Save it as UTF-8",
        )
    try:
        text = data[skip:].decode(encoding)
    except UnicodeDecodeError as error:
        at = error.start + skip
        line = data[skip:at].decode(encoding, "replace").count("\n") + 1
        raise TranscriptError(
            source,
            line,
            f"byte 0x{data[at]:02x} at offset {at} is not {encoding.upper()}",
            "Save the file as UTF-8",
        ) from None
    return text.replace("\0", "").replace("\r\n", "\n").replace("\r", "\n")


def milliseconds(stamp: str) -> int | None:
    """Read `[hours:]minutes:seconds.fraction` (or a comma); None where it is malformed or past MAX_MS."""
    match = _TIME.fullmatch(stamp)
    # The length bound keeps int() away from its own limit on digits.
    if match is None or len(stamp) > 40:
        return None
    hours, minutes, seconds, fraction = match.groups()
    if int(minutes) > 59 or int(seconds) > 59:
        return None
    total = (int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds)) * 1000 + int(fraction.ljust(3, "0"))
    return total if total <= MAX_MS else None


def timing(line: str, number: int, source: str) -> tuple[int, int]:
    """Read a line of times, `start --> end` and whatever settings follow. Raises TranscriptError."""
    left, _, right = line.partition("-->")
    stamps = (left.strip(), (right.split(maxsplit=1) or [""])[0])
    start, end = (milliseconds(stamp) for stamp in stamps)
    if start is None or end is None:
        broken = stamps[0] if start is None else stamps[1]
        shown = f" {broken[:40]!r}" if _TIMELIKE.fullmatch(broken) else ""
        side = "start" if start is None else "end"
        raise TranscriptError(
            source,
            number,
            f"the {side} time{shown} is malformed",
            "Write times as 00:01:02.500, below 596 hours",
        )
    if end < start:
        raise TranscriptError(
            source, number, f"the cue ends ({stamps[1]}) before it starts ({stamps[0]})", "Correct its times"
        )
    return start, end


def counted(number: int, singular: str, plural: str | None = None) -> str:
    """`1 cue`, `2 cues`."""
    return f"{number} {singular if number == 1 else plural or singular + 's'}"
