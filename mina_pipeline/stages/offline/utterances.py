"""Sentence-like units rebuilt from cues: what one speaker said, over cue borders, doubled words left out."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mina_pipeline.meeting import Segment

_JOIN_MS = 2_000
_OVERLAP_WORDS = 10
_LONGEST = 34
_SHORTEST = 5

HESITATIONS = frozenset(
    "um uh er erm hmm hm mm mmm uhm ah eh uh-huh mm-hmm huh hmmm uhuh mhm uh-hum ehm".split()  # codespell:ignore
)
# A recognizer starts a line with a capital: in text that has few, a capital on one of these begins a sentence.
_OPENERS = frozenset(
    "so and but okay ok well yeah yes no right now then because if or the this that these those there it i we you "
    "they he she what how when where who why which do does did is are was can could would should will maybe let "
    "also actually alright thanks thank for in on at as to a an one some any each my our your all not just um "
    "uh".split()
)
_BREAK_BEFORE = frozenset("so but because okay well then".split())
_WEAK_BREAK = frozenset("and or if which when where that".split())
_WORD = re.compile(r"[^\W_]+(?:['’.\-&/:][^\W_]+)*", re.UNICODE)


@dataclass(frozen=True, slots=True)
class Sentence:
    """A stretch of one speaker's words. `ids`: its segments in order; `index`: its place among all sentences.

    `marks` has the ordinal of the segment of each word of `text.split()`.
    `position` is 0..1, how far into the meeting's segments it lies. `ends_turn`: the utterance stops here.
    """

    text: str
    marks: tuple[int, ...]
    speaker: str | None
    ids: tuple[str, ...]
    index: int
    first: int
    last: int
    position: float
    start_ms: int
    end_ms: int
    ends_turn: bool


@dataclass(slots=True)
class _Run:
    """Words of one speaker with no long pause: each word with the ordinal of its segment."""

    speaker: str | None
    words: list[str]
    marks: list[int]
    end_ms: int


def norm(word: str) -> str:
    """A word as it is compared: lower case, without the punctuation around it."""
    return word.strip(".,;:!?\"'“”‘’()[]…-").replace("’", "'").lower()


def words(text: str) -> list[str]:
    """The words of `text` as they are compared, hesitations left out."""
    return [w for w in (norm(part) for part in text.split()) if w and w not in HESITATIONS]


def size_of(said: Iterable[Sentence]) -> int:
    """How many words these are."""
    return sum(len(sentence.marks) for sentence in said)


def sentences(segments: Sequence[Segment], refined: Mapping[str, str] | None = None) -> list[Sentence]:
    """Rebuild sentences from segments sorted by start; in the order in which they begin. Never raises."""
    runs = _runs(segments, refined or {})
    found: list[tuple[int, tuple[int, ...], str, str | None, bool]] = []
    for run in runs:
        spans = _split(run.words)
        for nth, (a, b) in enumerate(spans):
            text = " ".join(run.words[a:b])
            if _WORD.search(text):
                found.append((run.marks[a], tuple(run.marks[a:b]), text, run.speaker, nth == len(spans) - 1))
    found.sort(key=lambda item: item[0])
    total = max(1, len(segments) - 1)
    out: list[Sentence] = []
    for first, marks, text, speaker, ends in found:
        last = marks[-1]
        ids = tuple(segments[n].segment_id or str(n) for n in dict.fromkeys(marks))
        out.append(
            Sentence(
                text=text,
                marks=marks,
                speaker=speaker,
                ids=ids,
                index=len(out),
                first=first,
                last=last,
                position=first / total,
                start_ms=segments[first].start_ms,
                end_ms=segments[last].end_ms,
                ends_turn=ends,
            )
        )
    return out


def _runs(segments: Sequence[Segment], refined: Mapping[str, str]) -> list[_Run]:
    open_runs: dict[str | None, _Run] = {}
    previous: dict[str | None, tuple[list[str], int]] = {}
    runs: list[_Run] = []
    for ordinal, segment in enumerate(segments):
        raw = segment.text.split()
        shown = refined.get(segment.segment_id or "", segment.text).split()
        if not raw:
            continue
        before, before_end = previous.get(segment.speaker, ([], -_JOIN_MS * 2))
        near = segment.start_ms - before_end <= _JOIN_MS
        # Compared as shown: where refinement has taken the doubled words out already, nothing may go twice.
        previous[segment.speaker] = (shown or before, segment.end_ms)
        if not shown:
            continue
        if near:
            shown = shown[_overlap(before, shown) :]
            if not shown:
                continue
        run = open_runs.get(segment.speaker)
        if run is None or not near or segment.start_ms - run.end_ms > _JOIN_MS:
            run = _Run(segment.speaker, [], [], segment.end_ms)
            open_runs[segment.speaker] = run
            runs.append(run)
        run.words.extend(shown)
        run.marks.extend([ordinal] * len(shown))
        run.end_ms = segment.end_ms
    return [run for run in runs if run.words]


def _overlap(before: Sequence[str], after: Sequence[str]) -> int:
    """How many words `after` repeats of the end of `before`, the most there are."""
    left = [norm(w) for w in before[-_OVERLAP_WORDS:]]
    right = [norm(w) for w in after[:_OVERLAP_WORDS]]
    for size in range(min(len(left), len(right)), 0, -1):
        if left[-size:] == right[:size]:
            return size
    return 0


def _split(said: Sequence[str]) -> list[tuple[int, int]]:
    """Spans of sentence-like units: at end marks, at recognizer restarts, and long ones at a conjunction."""
    capitals = sum(1 for w in said if w[:1].isupper() and norm(w) != "i" and not norm(w).startswith("i'"))
    flat = not any(w[-1:] in ".?!" and len(w) > 2 for w in said) or capitals * 4 > len(said)
    cuts = [0]
    for at in range(1, len(said)):
        word, before = said[at], said[at - 1]
        ended = before[-1:] in "?!" or (before[-1:] == "." and len(norm(before)) > 1)
        restart = flat and word[:1].isupper() and norm(word) in _OPENERS and norm(word) != "i"
        if ended or restart:
            cuts.append(at)
    cuts.append(len(said))
    spans: list[tuple[int, int]] = []
    for a, b in itertools.pairwise(cuts):
        spans.extend(_shorten(said, a, b))
    return spans


def _shorten(said: Sequence[str], a: int, b: int) -> list[tuple[int, int]]:
    out: list[tuple[int, int]] = []
    while b - a > _LONGEST:
        window = range(a + _SHORTEST, min(b - _SHORTEST + 1, a + _LONGEST))
        strong = [at for at in window if norm(said[at]) in _BREAK_BEFORE]
        weak = [at for at in window if norm(said[at]) in _WEAK_BREAK]
        cut = strong[-1] if strong else weak[-1] if weak else a + _LONGEST
        out.append((a, cut))
        a = cut
    if a < b:
        out.append((a, b))
    return out
