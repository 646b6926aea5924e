"""The openai provider: the four standard stages made by a model, on any OpenAI-compatible server."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ...llm.budget import Budget
    from .stages import OpenAIProvider


def provider(
    *, budget: Callable[..., Budget] | None = None, environ: Mapping[str, str] = os.environ, **given: Any
) -> OpenAIProvider:
    """A provider for `Pipeline.open(provider=…)`. No request is made, and openai is not imported, until a stage asks.

    given: the fields of Options, over MINA_OPENAI_… in the environment (the key: OPENAI_API_KEY, the server:
    OPENAI_BASE_URL). budget: takes `limits` and gives a Budget; by default one that counts in this process.
    InvalidInput where something does not read, or the key is missing.
    """
    from .options import Options
    from .stages import opened

    return opened(Options.read(environ, **given), budget)
