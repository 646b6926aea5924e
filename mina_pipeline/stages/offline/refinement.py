"""Refinement without a model: fillers and stumbles out, sentence ends and capitals in, no word invented."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mina_pipeline.meeting import Improvements, RefinedSegment, Refinement, Segment

from .casing import capital, is_name, seen_names, small, speaker_names
from .language import BACKCHANNELS, STOP_WORDS, listed, looks_english, tokens
from .sentences import find_ends, mark_of
from .words import Word, cut_fillers, cut_repeats, is_safe, note_capitals, split

_SAMPLE_WORDS = 5_000
_DOUBLED = listed("no yeah yes okay")


@dataclass(slots=True)
class _Counts:
    grammar: int = 0
    punctuation: int = 0
    capitals: int = 0
    fillers: int = 0


def refine(segments: Sequence[Segment], *, locale: str | None = None) -> Refinement:
    """Clean up what a recogniser wrote, segments sorted by start and with their ids set.

    Only English is touched (`locale`, or for None what looks English), and only what is in Latin script.
    Words are left out or re-cased, never replaced; punctuated text keeps its punctuation. An empty text in
    the result means that the segment held only fillers or repeated its neighbour.
    """
    known = [segment.confidence for segment in segments if segment.confidence is not None]
    confidence = sum(known) / len(known) if known else None
    if not _is_english(segments, locale):
        return Refinement(confidence=confidence)
    counts = _Counts()
    streams = _streams(segments)
    marked = _is_punctuated(streams)
    names, common = seen_names(streams)
    names |= speaker_names(segment.speaker for segment in segments)
    cased = _capitals_tell(streams)
    turns = _turns(segments)
    texts: dict[int, list[str]] = {}
    for words in streams:
        before = [word.core for word in words]
        counts.fillers += cut_fillers(words)
        note_capitals(words)
        counts.grammar += cut_repeats(words)
        kept = [word for word in words if not word.cut]
        starts = _starts_of_marked(kept) if marked else _punctuate(kept, turns, cased, counts)
        _case(kept, starts, names, common, marked)
        counts.capitals += sum(old != word.core for old, word in zip(before, words, strict=True) if not word.cut)
        for word in words:
            line = texts.setdefault(word.segment, [])
            if not word.cut:
                line.append(word.text)
    changes = [
        RefinedSegment(segments[at].segment_id or str(at), " ".join(line))
        for at, line in sorted(texts.items())
        if line != segments[at].text.split()
    ]
    improvements = Improvements(
        grammar_fixes=counts.grammar,
        punctuation_fixes=counts.punctuation,
        capitalization_fixes=counts.capitals,
        fillers_removed=counts.fillers,
    )
    return Refinement(changes=tuple(changes), improvements=improvements, confidence=confidence)


def _is_english(segments: Sequence[Segment], locale: str | None) -> bool:
    if locale is not None and locale.strip():
        return locale.strip().lower().replace("_", "-").split("-")[0] in {"en", "eng", "english"}
    sample: list[str] = []
    for segment in segments:
        sample.extend(tokens(segment.text))
        if len(sample) >= _SAMPLE_WORDS:
            break
    return looks_english(sample)


def _streams(segments: Sequence[Segment]) -> list[list[Word]]:
    """Each speaker's words in order; a segment in another script ends the stream it would be part of."""
    streams: list[list[Word]] = []
    current: dict[str | None, list[Word]] = {}
    for at, segment in enumerate(segments):
        if not is_safe(segment.text):
            current.pop(segment.speaker, None)
            continue
        if segment.speaker not in current:
            current[segment.speaker] = []
            streams.append(current[segment.speaker])
        current[segment.speaker].extend(split(segment.text, at, segment.start_ms, segment.end_ms))
    return streams


def _is_punctuated(streams: Sequence[Sequence[Word]]) -> bool:
    """Whether the text has sentence marks already: then where they stand is not ours to judge."""
    total = marks = 0
    for words in streams:
        for word in words:
            total += 1
            marks += word.trail.endswith((".", "?", "!"))
    return marks * 40 > total


def _capitals_tell(streams: Sequence[Sequence[Word]]) -> bool:
    """Whether the recogniser raises the first words of its utterances: some cues begin high, others low."""
    high = low = 0
    for words in streams:
        segment = -1
        for word in words:
            if word.segment != segment and word.low.split("'")[0] != "i":
                high += word.core[:1].isupper()
                low += word.core[:1].islower()
            segment = word.segment
    return high > 0 and low > 0 and 0.05 < high / (high + low) < 0.95


def _turns(segments: Sequence[Segment]) -> frozenset[int]:
    """The segments before which another speaker, since this one's last, said more than a backchannel."""
    found: list[int] = []
    last_own: dict[str | None, int] = {}
    latest: tuple[str | None, int] | None = None
    other: tuple[str | None, int] | None = None
    for at, segment in enumerate(segments):
        rival = other if latest and latest[0] == segment.speaker else latest
        own = last_own.get(segment.speaker)
        if rival is not None and own is not None and rival[1] > own:
            found.append(at)
        last_own[segment.speaker] = at
        if any(word not in BACKCHANNELS for word in tokens(segment.text)):
            if latest and latest[0] != segment.speaker:
                other = latest
            latest = (segment.speaker, at)
    return frozenset(found)


def _punctuate(kept: Sequence[Word], turns: frozenset[int], cased: bool, counts: _Counts) -> list[bool]:
    """Set the marks; for each kept word, whether a sentence starts with it."""
    ends = find_ends(kept, turns, cased)
    starts: list[bool] = []
    first = 0
    for at, end in enumerate(ends):
        starts.append(at == first)
        word = kept[at]
        if not end:
            same = at + 1 < len(kept) and kept[at + 1].low == word.low and kept[at + 1].segment == word.segment
            if same and word.low in _DOUBLED and not word.trail:
                word.trail = ","
                counts.punctuation += 1
            continue
        mark = mark_of(kept[first : at + 1])
        if mark and word.low and not word.trail and not (word.spelled and mark == "."):
            word.trail = mark
            counts.punctuation += 1
        first = at + 1
    return starts


def _starts_of_marked(kept: Sequence[Word]) -> list[bool]:
    """Sentence starts by the marks that the text brings; the first word of a segment is left as it is."""
    return [
        at > 0
        and kept[at - 1].segment == word.segment
        and kept[at - 1].trail.endswith((".", "?", "!"))
        and not kept[at - 1].trail.endswith("...")
        and not kept[at - 1].spelled
        and kept[at - 1].core.count(".") == 0
        and len(kept[at - 1].core) > 3
        for at, word in enumerate(kept)
    ]


def _case(
    kept: Sequence[Word], starts: Sequence[bool], names: frozenset[str], common: frozenset[str], marked: bool
) -> None:
    for word, start in zip(kept, starts, strict=True):
        if not word.core or word.spelled:
            continue
        if start or is_name(word.low, names):
            word.core = capital(word.core)
        elif not marked and word.core[:1].isupper() and (word.low in STOP_WORDS or word.low in common):
            word.core = small(word.core)
