"""Whisper's JSON (OpenAI, faster-whisper, whisper.cpp) and WhisperX's, with speakers and word times."""

from __future__ import annotations

import math
from itertools import groupby
from typing import Any

from mina_pipeline.meeting import Segment
from mina_pipeline.transcripts.assembly import Cue, Transcript, assemble, optional
from mina_pipeline.transcripts.fields import (
    as_list,
    as_object,
    check_order,
    number_or_none,
    optional_text,
    refuse,
    text_of,
    time_of,
)
from mina_pipeline.transcripts.text import MAX_MS

Word = dict[str, Any]


def parse(document: dict[str, Any], segments: list[dict[str, Any]], source: str) -> Transcript:
    """Parse `{text, language, segments: [{id?, start, end, text, …}]}`, times in seconds.

    Where no segment has an id, its position from 0 is its id, as Whisper itself numbers.
    """
    diarized = "word_segments" in document or any(
        "speaker" in holder or "score" in holder for item in segments for holder in (item, *_words(item))
    )
    numbered = all(item.get("id") is None for item in segments)
    cues: list[Cue] = []
    for number, item in enumerate(segments):
        path = f"segments[{number}]"
        cue_id = str(number) if numbered else _id(item, path, source)
        start = time_of(item, "start", f"{path}.start", source, scale=1000)
        end = time_of(item, "end", f"{path}.end", source, scale=1000)
        check_order(start, end, path, source)
        whole = Segment(
            text_of(item, "text", f"{path}.text", source),
            start,
            end,
            optional_text(item, "speaker", f"{path}.speaker", source),
            _confidence(item),
        )
        cues.append(Cue(start, end, cue_id, tuple(_by_speaker(whole, _words(item)))))
    found, warnings = assemble(cues)
    return Transcript(
        source=source,
        format="whisperx" if diarized else "whisper",
        segments=found,
        warnings=warnings,
        language=optional_text(document, "language", "language", source),
    )


def parse_cpp(document: dict[str, Any], source: str) -> Transcript:
    """Parse whisper.cpp's `{result: {language}, transcription: [{offsets: {from, to}, text}]}`; ms."""
    cues: list[Cue] = []
    for number, entry in enumerate(as_list(document["transcription"], "transcription", source)):
        path = f"transcription[{number}]"
        item = as_object(entry, path, source)
        offsets = as_object(item.get("offsets"), f"{path}.offsets", source)
        start = time_of(offsets, "from", f"{path}.offsets.from", source, scale=1)
        end = time_of(offsets, "to", f"{path}.offsets.to", source, scale=1)
        check_order(start, end, path, source)
        said = text_of(item, "text", f"{path}.text", source)
        # "?" is how it writes that it cannot tell the two channels apart.
        speaker = optional_text(item, "speaker", f"{path}.speaker", source)
        part = Segment(said, start, end, None if speaker == "?" else speaker, _mean(_tokens(item), ("p",)))
        cues.append(Cue(start, end, str(number), (part,)))
    found, warnings = assemble(cues)
    result = document.get("result")
    language = optional_text(result, "language", "result.language", source) if isinstance(result, dict) else None
    return Transcript(source=source, format="whisper", segments=found, warnings=warnings, language=language)


def _id(item: dict[str, Any], path: str, source: str) -> str | None:
    value = item.get("id")
    if isinstance(value, int) and not isinstance(value, bool):
        if abs(value) > 2**63:
            raise refuse(source, f"{path}.id", "has too many digits", "Write a shorter id")
        return str(value)
    return optional_text(item, "id", f"{path}.id", source)


def _words(item: dict[str, Any]) -> list[Word]:
    words = item.get("words")
    return [word for word in words if isinstance(word, dict)] if isinstance(words, list) else []


def _tokens(item: dict[str, Any]) -> list[Word]:
    tokens = item.get("tokens")
    found = [token for token in tokens if isinstance(token, dict)] if isinstance(tokens, list) else []
    # "[_BEG_]", "[_TT_42]": marks of the decoder, not speech.
    return [token for token in found if not str(token.get("text", "")).startswith("[_")]


def _mean(words: list[Word], keys: tuple[str, ...]) -> float | None:
    values = [value for word in words for key in keys if (value := number_or_none(word.get(key))) is not None]
    return _clipped(math.fsum(values) / len(values)) if values else None


def _clipped(value: float) -> float:
    # Rounded, because exp differs in its last digit from one C library to another.
    return round(min(1.0, max(0.0, value)), 6)


def _confidence(item: dict[str, Any]) -> float | None:
    from_words = _mean(_words(item), ("score", "probability", "confidence"))
    if from_words is not None:
        return from_words
    logprob = number_or_none(item.get("avg_logprob"))
    if logprob is not None:
        return _clipped(math.exp(min(0.0, logprob)))
    given = number_or_none(item.get("confidence"))
    return None if given is None else _clipped(given)


def _by_speaker(whole: Segment, words: list[Word]) -> list[Segment]:
    """Cut a segment where its words change speaker; a word without one goes on with the word before."""
    turns = _turns(words, whole.speaker)
    if len(turns) < 2:
        only = turns[0][0] if turns else None
        return [whole if only is None else Segment(whole.text, whole.start_ms, whole.end_ms, only, whole.confidence)]
    texts = _texts(whole.text, [said for _, said in turns])
    parts: list[Segment] = []
    reached = whole.start_ms
    for (speaker, said), text in zip(turns, texts, strict=True):
        # Numbers and the like carry no times: such a part begins where the last one ended.
        start = max(reached, _edge(said, "start", reached))
        end = max(start, _edge(said[::-1], "end", start))
        parts.append(Segment(text, start, end, speaker, _mean(said, ("score", "probability", "confidence"))))
        reached = end
    return parts


def _turns(words: list[Word], fallback: str | None) -> list[tuple[str | None, list[Word]]]:
    spoken = [word for word in words if isinstance(word.get("word"), str) and word["word"].strip()]
    names = [optional(word["speaker"]) if isinstance(word.get("speaker"), str) else None for word in spoken]
    current = next((name for name in names if name is not None), fallback)
    labelled: list[tuple[str | None, Word]] = []
    for name, word in zip(names, spoken, strict=True):
        current = name or current
        labelled.append((current, word))
    return [(name, [word for _, word in run]) for name, run in groupby(labelled, key=lambda pair: pair[0])]


def _texts(text: str, turns: list[list[Word]]) -> list[str]:
    """Cut the segment's own text at the turns' first words; joined words where they are not in it."""
    cuts: list[int] = []
    position = 0
    for turn in turns:
        for number, word in enumerate(turn):
            spoken = word["word"].strip()
            found = text.find(spoken, position)
            if found < 0:
                return [" ".join(word["word"].strip() for word in turn) for turn in turns]
            if number == 0:
                cuts.append(found)
            position = found + len(spoken)
    return [text[start:end] for start, end in zip([0, *cuts[1:]], [*cuts[1:], len(text)], strict=True)]


def _edge(words: list[Word], key: str, otherwise: int) -> int:
    for word in words:
        value = number_or_none(word.get(key))
        if value is not None and 0 <= value * 1000 <= MAX_MS:
            return round(value * 1000)
    return otherwise
