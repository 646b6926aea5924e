"""Counted from the segments: who spoke how long, when, at what pace, and about what."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from mina_pipeline.meeting import Analytics, PacePoint, Segment, SpeakerStats

from .keywords import find_keywords
from .language import BACKCHANNELS, FILLERS, is_question, looks_english, tokens
from .refinement import refine

WINDOW_MS = 5 * 60_000
TURN_PAUSE_MS = 5_000
"""A speaker who stays silent longer than this, and goes on, begins another turn."""

_MINUTE = 60_000
_ASKED = re.compile(r"[?؟？]+")
_SENTENCE = re.compile(r"[^.?!؟？。！]+[.?!؟？。！]*")


@dataclass(slots=True)
class _Voice:
    """What is counted of one speaker; `spoken` holds merged, disjoint intervals in order."""

    spoken: list[tuple[int, int]] = field(default_factory=list)
    words: int = 0
    questions: int = 0
    fillers: int = 0
    turns: int = 0
    longest_ms: int = 0

    @property
    def talk_ms(self) -> int:
        return sum(end - start for start, end in self.spoken)


def analyze(segments: Sequence[Segment]) -> Analytics:
    """Measure a meeting from its segments, sorted by start; no segments give zeros and None.

    Durations run from the first start to the last end. A turn begins with a segment that is more than a
    backchannel ("yeah", "mm-hmm"), from another speaker than the last such one or after more than
    `TURN_PAUSE_MS` of the same; a monologue is a turn from its start to the end of its last such segment.
    Segments without a speaker count as one voice, "Unknown", which is no participant. `overlap_share` is
    the part of the spoken time in which two or more speak.
    """
    if not segments:
        return Analytics()
    said = [tokens(segment.text) for segment in segments]
    english = looks_english(word for words in said for word in words)
    # Refined text has its questions marked, and no words doubled over a border that would weigh twice.
    refined = {change.segment_id: change.text for change in refine(segments).changes}
    texts = [refined.get(segment.segment_id or str(at), segment.text) for at, segment in enumerate(segments)]
    voices = _voices(segments, said, texts, english)
    turn_count = _count_turns(segments, said, voices)
    start = min(segment.start_ms for segment in segments)
    end = max(max(segment.end_ms, segment.start_ms) for segment in segments)
    spoken_ms, overlap_ms = _sweep(voices.values())
    word_count = sum(len(words) for words in said)
    known = [segment.confidence for segment in segments if segment.confidence is not None]
    talk = {speaker: voice.talk_ms for speaker, voice in voices.items()}
    total = sum(talk.values())
    rows = [
        SpeakerStats(
            speaker="Unknown" if speaker is None else speaker,
            talk_ms=talk[speaker],
            share=talk[speaker] / total if total else 0.0,
            turns=voice.turns,
            words=voice.words,
            words_per_minute=_per_minute(voice.words, talk[speaker]),
            questions=voice.questions,
            fillers=voice.fillers,
            longest_monologue_ms=voice.longest_ms,
        )
        for speaker, voice in voices.items()
    ]
    rows.sort(key=lambda row: (-row.talk_ms, -row.words, row.speaker))
    named = sorted((speaker for speaker in voices if speaker is not None), key=lambda name: (-talk[name], name))
    longest = min(voices, key=lambda speaker: (-voices[speaker].longest_ms, speaker is None, speaker or ""))
    return Analytics(
        total_duration_minutes=(end - start) / _MINUTE,
        word_count=word_count,
        average_confidence=sum(known) / len(known) if known else None,
        segment_count=len(segments),
        words_per_minute=_per_minute(word_count, end - start),
        participant_count=len(named),
        speaking_time=tuple(rows),
        dominant_speaker=named[0] if named and talk[named[0]] else None,
        balance_gini=_gini([talk[name] for name in named]),
        overlap_ms=overlap_ms,
        overlap_share=overlap_ms / spoken_ms if spoken_ms else 0.0,
        silence_ms=end - start - spoken_ms,
        turn_count=turn_count,
        question_count=sum(voice.questions for voice in voices.values()),
        filler_count=sum(voice.fillers for voice in voices.values()),
        longest_monologue_ms=voices[longest].longest_ms,
        longest_monologue_speaker=longest if voices[longest].longest_ms else None,
        pace=_pace(segments, said, start, end),
        keywords=find_keywords(texts),
    )


def _per_minute(words: int, duration_ms: int) -> float:
    return words * _MINUTE / duration_ms if duration_ms > 0 else 0.0


def _voices(
    segments: Sequence[Segment], said: Sequence[Sequence[str]], texts: Sequence[str], english: bool
) -> dict[str | None, _Voice]:
    voices: dict[str | None, _Voice] = {}
    for segment, words, text in zip(segments, said, texts, strict=True):
        voice = voices.setdefault(segment.speaker, _Voice())
        voice.words += len(words)
        if english:
            voice.fillers += sum(word in FILLERS for word in words)
            voice.questions += len(_ASKED.findall(text))
        else:  # "er" and "um" are words elsewhere
            voice.questions += sum(is_question(part) for part in _SENTENCE.findall(text))
        start, end = segment.start_ms, max(segment.end_ms, segment.start_ms)
        if voice.spoken and start <= voice.spoken[-1][1]:
            voice.spoken[-1] = (voice.spoken[-1][0], max(end, voice.spoken[-1][1]))
        else:
            voice.spoken.append((start, end))
    return voices


def _count_turns(segments: Sequence[Segment], said: Sequence[Sequence[str]], voices: dict[str | None, _Voice]) -> int:
    """Count the turns and note each voice's longest."""
    count, start, end = 0, 0, 0
    holder: str | None = None
    for segment, words in zip(segments, said, strict=True):
        if all(word in BACKCHANNELS or word in FILLERS for word in words):
            continue
        voice = voices[segment.speaker]
        if count == 0 or segment.speaker != holder or segment.start_ms - end > TURN_PAUSE_MS:
            count += 1
            voice.turns += 1
            holder, start, end = segment.speaker, segment.start_ms, segment.start_ms
        end = max(end, segment.end_ms)
        voice.longest_ms = max(voice.longest_ms, end - start)
    return count


def _sweep(voices: Iterable[_Voice]) -> tuple[int, int]:
    """(time with someone speaking, time with two or more speaking), in ms."""
    edges = [edge for voice in voices for start, end in voice.spoken for edge in ((start, 1), (end, -1))]
    edges.sort()
    spoken = overlap = active = last = 0
    for at, step in edges:
        if active:
            spoken += at - last
        if active > 1:
            overlap += at - last
        active += step
        last = at
    return spoken, overlap


def _gini(values: Sequence[int]) -> float | None:
    if len(values) < 2:
        return None
    total = sum(values)
    if not total:
        return 0.0
    weighted = sum(rank * value for rank, value in enumerate(sorted(values), start=1))
    count = len(values)
    return max(0.0, (2 * weighted - (count + 1) * total) / (count * total))


def _pace(segments: Sequence[Segment], said: Sequence[Sequence[str]], start: int, end: int) -> tuple[PacePoint, ...]:
    """Words by window, each segment's spread evenly over its time; they sum to the word count."""
    count = max(1, -(-(end - start) // WINDOW_MS))
    mass = [0.0] * count
    # Windows that a segment fills wholly are added up as differences: one endless segment costs no more.
    whole = [0.0] * (count + 1)
    for segment, words in zip(segments, said, strict=True):
        opens, closes = segment.start_ms - start, max(segment.end_ms, segment.start_ms) - start
        first = min(opens // WINDOW_MS, count - 1)
        last = min(max(closes - 1, opens) // WINDOW_MS, count - 1)
        if first == last:
            mass[first] += len(words)
            continue
        rate = len(words) / (closes - opens)
        mass[first] += rate * ((first + 1) * WINDOW_MS - opens)
        mass[last] += rate * (closes - last * WINDOW_MS)
        whole[first + 1] += rate * WINDOW_MS
        whole[last] -= rate * WINDOW_MS
    total = sum(len(words) for words in said)
    points: list[PacePoint] = []
    sum_so_far, given, running = 0.0, 0, 0.0
    for at in range(count):
        running += whole[at]
        sum_so_far += mass[at] + max(running, 0.0)
        reached = total if at == count - 1 else min(total, max(given, round(sum_so_far)))
        opens, closes = start + at * WINDOW_MS, min(end, start + (at + 1) * WINDOW_MS)
        words_here, given = reached - given, reached
        points.append(
            PacePoint(
                start_ms=opens,
                end_ms=closes,
                words=words_here,
                words_per_minute=_per_minute(words_here, closes - opens),
            )
        )
    return tuple(points)
