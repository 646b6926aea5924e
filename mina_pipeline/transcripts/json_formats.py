"""JSON transcripts: which of the three it is, and reading fields with the path in every error."""

from __future__ import annotations

import json
from typing import Any

from mina_pipeline.errors import TranscriptError
from mina_pipeline.transcripts import plain_json, whisper
from mina_pipeline.transcripts.assembly import Transcript
from mina_pipeline.transcripts.fields import as_list, as_object, refuse

_OURS = ("title", "started_at", "timezone")


def parse(text: str, source: str) -> Transcript:
    """Parse JSON, tell the format from the fields of its segments, and hand on."""
    document = _load(text, source)
    if not isinstance(document, dict):
        raise refuse(source, "", "the file holds no JSON object", 'Wrap the list as {"segments": […]}')
    if "transcription" in document and "segments" not in document:
        return whisper.parse_cpp(document, source)
    if document.get("segments") is None:
        raise refuse(source, "segments", "is missing", "Export with segments and their times (Whisper: verbose_json)")
    segments = [
        as_object(item, f"segments[{number}]", source)
        for number, item in enumerate(as_list(document["segments"], "segments", source))
    ]
    if _is_whisper(document, segments):
        return whisper.parse(document, segments, source)
    return plain_json.parse(document, segments, source)


def _is_whisper(document: dict[str, Any], segments: list[dict[str, Any]]) -> bool:
    if not segments:
        return "word_segments" in document or ("text" in document and not any(key in document for key in _OURS))
    if any("start_ms" in segment or "end_ms" in segment for segment in segments):
        return False
    return any("start" in segment or "end" in segment for segment in segments)


def _load(text: str, source: str) -> Any:
    try:
        # Not strict: a raw control character in a string is cleaned later, as everywhere.
        return json.loads(text, strict=False)
    except json.JSONDecodeError as error:
        raise TranscriptError(source, error.lineno, f"broken JSON: {error.msg}", "Export the file again") from None
    except RecursionError:
        problem = "the JSON is nested too deep"
    except ValueError:
        problem = "the JSON holds a number of too many digits"
    raise TranscriptError(source, None, problem, "Export the file again")
