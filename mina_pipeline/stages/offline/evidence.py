"""Citations of the transcript: ids that are in it, with what is said there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any


def with_quotes(made: Any, texts: Mapping[str, str]) -> Any:
    """The same dataclass, and those within it, with no id in `evidence` that `texts` lacks.

    `quotes`, where the shape has it, are the segments' words, in parallel. `texts` maps segment ids to what was said.
    """
    changes: dict[str, Any] = {}
    names = {field.name for field in fields(made)}
    for name in sorted(names):
        value = getattr(made, name)
        if isinstance(value, tuple) and value and is_dataclass(value[0]):
            changes[name] = tuple(with_quotes(one, texts) for one in value)
    if "evidence" in names:
        changes["evidence"] = tuple(i for i in made.evidence if i in texts)
        if "quotes" in names:
            changes["quotes"] = tuple(texts[i] for i in changes["evidence"])
    return replace(made, **changes)
