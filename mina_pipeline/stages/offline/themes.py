"""What a meeting and its parts are about, in a few words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from mina_pipeline.meeting import Cited

from .phrases import find_phrases, telling
from .polish import closed, listing, polished
from .ranking import content_stems
from .reported import indirect, named
from .utterances import Sentence, words

_TOPICS = 6


def brief(said: Sequence[Sentence], top: Sentence, nouns: Collection[str]) -> str:
    """One or two sentences: who talked about what, and the most telling thing that was said."""
    people = [name for name in dict.fromkeys(s.speaker for s in said) if name]
    themes = labels(said, 3, nouns)
    parts = []
    if themes:
        who = f"{listing([named(name) for name in people])} talked" if 0 < len(people) <= 6 else "The meeting was"
        parts.append(closed(f"{who} about {listing(themes)}"))
    told = indirect(top.text, top.speaker, (), again=False) if nouns else ""
    return " ".join([*parts, told or polished(top.text)])


def labels(said: Sequence[Sentence], count: int, nouns: Collection[str]) -> list[str]:
    """What these sentences come back to most: phrases around the `nouns`, else words and pairs of words."""
    if found := [phrase.text for phrase in find_phrases(said, nouns, count)]:
        return found
    single, pairs = Counter[str](), Counter[tuple[str, str]]()
    for sentence in said:
        own = words(sentence.text)
        for at, word in enumerate(own):
            if not telling(word):
                continue
            single[word] += 1
            if at and telling(own[at - 1]) and own[at - 1] != word:
                pairs[own[at - 1], word] += 1
    scored = [(n * 2.2, " ".join(pair)) for pair, n in pairs.items() if n > 1]
    scored += [(float(n), word) for word, n in single.items()]
    for _, label in sorted(scored, key=lambda item: (-item[0], item[1])):
        if not any(set(content_stems(label)) & set(content_stems(other)) for other in found):
            found.append(label)
        if len(found) == count:
            break
    return found


def topics(said: Sequence[Sentence], nouns: Collection[str]) -> tuple[Cited, ...]:
    """The meeting in equal stretches, each under what it comes back to, with where that is said."""
    count = max(1, min(_TOPICS, len(said) // 25))
    size = -(-len(said) // count)
    found: list[Cited] = []
    seen: set[str] = set()
    for start in range(0, len(said), size):
        stretch = said[start : start + size]
        own = [label for label in labels(stretch, 4, nouns) if label not in seen][:2]
        if not own:
            continue
        seen.update(own)
        stems = {s for label in own for s in content_stems(label)}
        where = [s for s in stretch if stems & set(content_stems(s.text))][:3]
        found.append(Cited(text=listing(own), evidence=tuple(dict.fromkeys(i for s in where for i in s.ids))))
    return tuple(found)
