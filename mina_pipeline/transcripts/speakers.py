"""Speakers written into the text: `Name: …`, `[Name] …`, `>> NAME: …`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

# Not \w: combining marks are part of a name, and \w leaves them out.
_WORD = r"[^\W_][^\s:：\[\]()<>,;!?\"]*"
_NAME = rf"{_WORD}(?: {_WORD}){{0,3}}"
_PREFIX = re.compile(
    rf"(?:>> ?|- ?)?(?:\[(?P<inner>{_NAME})\](?::|(?=\s|$))"
    rf"|(?P<plain>{_NAME}(?: \([^()]{{1,20}}\))?)(?: ?:(?=\s|$)|：))\s*"
)
_NO_NAMES = frozenset(
    re.findall(
        r"\w+",
        "action agenda answer applause background blank_audio cough crosstalk decision edit example foreign "
        "hint https http important inaudible laughs laughter music noise note notes ps problem question re "
        "remember reminder result risk sigh silence so subject summary task tip todo unintelligible update "
        "warning",
    )
)


def split_by_prefixes(cues: Sequence[Sequence[str]]) -> list[list[tuple[str | None, str]]]:
    """Give each cue's lines as (speaker, text) parts; a line without a prefix goes on with its cue's part.

    A prefix is a habit of the whole file or it is no speaker: at least three cues, or most of them, must
    open with one, and unless most do, a name must come up twice. A cue without a prefix has no speaker:
    whether the last one goes on speaking is not ours to guess.
    """
    names = _names_in_use(cues)
    return [_parts(lines, names) for lines in cues]


def _names_in_use(cues: Iterable[Sequence[str]]) -> frozenset[str]:
    total = 0
    opened = 0
    uses: Counter[str] = Counter()
    for lines in cues:
        total += 1
        found = [name for name in map(_name, lines) if name is not None]
        opened += bool(found)
        uses.update(found)
    most = opened * 2 > total
    if not most and opened < 3:
        return frozenset()
    return frozenset(name for name, count in uses.items() if most or count > 1)


def _parts(lines: Sequence[str], names: frozenset[str]) -> list[tuple[str | None, str]]:
    parts: list[tuple[str | None, str]] = []
    for line in lines:
        name = _name(line) if names else None
        if name in names:
            parts.append((name, _PREFIX.sub("", line, count=1)))
        elif parts:
            speaker, text = parts[-1]
            parts[-1] = (speaker, f"{text} {line}")
        else:
            parts.append((None, line))
    return parts


def _name(line: str) -> str | None:
    match = _PREFIX.match(line)
    if match is None:
        return None
    name = match["inner"] or match["plain"]
    words = name.split()
    if len(name) > 60 or words[0].lower() in _NO_NAMES or not words[0][0].isalpha():
        return None
    # Not `isupper`: scripts without case have names too. "de", "van" may be small inside a name.
    capitalised = not any(word[0].islower() for word in (words[0], words[-1]))
    return name if capitalised else None
