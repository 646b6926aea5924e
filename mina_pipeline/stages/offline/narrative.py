"""A meeting told in the third person: stretch by stretch what was talked about and said, then who will do what."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from mina_pipeline.meeting import Task

from .language import asks
from .phrases import Phrase, find_phrases
from .polish import closed, listing
from .ranking import Ranked, choose
from .reported import TEAM, indirect, named, third_person
from .titles import is_duty
from .utterances import Sentence, size_of, words

STRETCH_WORDS = 900
"""So many words of talk are told as one stretch."""

_STRETCHES, _THEMES, _TASKS = 6, 5, 5
_LEAST, _MOST, _GROWTH = 60, 200, 2.5
_MAIN_VOICE = 0.6


@dataclass(frozen=True, slots=True)
class Line:
    """One sentence of the narrative and the ids of the segments that show it."""

    text: str
    ids: tuple[str, ...]


def narrate(
    said: Sequence[Sentence], ranked: Sequence[Ranked], tasks: Sequence[Task], nouns: Collection[str]
) -> list[Line]:
    """Tell the meeting: for each stretch what it was about and the most telling sentences, then the tasks.

    A meeting twice as long gets more words for what was said, but not twice as many.
    """
    budget = min(_MOST, max(_LEAST, round(_GROWTH * math.sqrt(size_of(said)))))
    duties = [task for task in tasks if task.title][:_TASKS]
    cited = {i for task in duties for i in task.evidence}
    # Questions tell little in the third person, and what is a task comes as one.
    pool = [one for one in ranked if not asks(words(one.sentence.text)) and cited.isdisjoint(one.sentence.ids)]
    chosen = choose(pool, budget)
    common = {word for sentence in said for word in sentence.text.split() if word.islower()}
    lines: list[Line] = []
    told: set[str] = set()
    for stretch in stretches(said):
        header = about(stretch, nouns, told)
        if header:
            lines.append(header)
        last = stretch[-1].index
        mine = [sentence for sentence in chosen if stretch[0].index <= sentence.index <= last]
        lines.extend(quoted(mine, common))
    lines.extend(map(duty, duties))
    return lines


def stretches(said: Sequence[Sentence]) -> list[Sequence[Sentence]]:
    """The meeting in stretches of about as many words each."""
    total = size_of(said)
    count = max(1, min(_STRETCHES, round(total / STRETCH_WORDS)))
    found: list[Sequence[Sentence]] = []
    start = passed = 0
    for at, sentence in enumerate(said):
        passed += len(sentence.marks)
        if passed * count >= total * (len(found) + 1):
            found.append(said[start : at + 1])
            start = at + 1
    return [stretch for stretch in found if stretch]


def about(stretch: Sequence[Sentence], nouns: Collection[str], told: set[str]) -> Line | None:
    """Who talked about what in a stretch. The stems of what is told are added to `told`."""
    shares = Counter[str | None]()
    for sentence in stretch:
        shares[sentence.speaker] += len(sentence.marks)
    speaker, most = max(shares.items(), key=lambda item: (item[1], item[0] or ""))
    alone = most > _MAIN_VOICE * shares.total()
    own = [sentence for sentence in stretch if sentence.speaker == speaker] if alone else stretch
    themes = find_phrases(own, nouns, _THEMES if alone else 2 * _THEMES, told)
    shared = [theme for theme in themes if len({sentence.speaker for sentence in theme.where}) > 1]
    themes = themes if alone else (shared or themes)[:_THEMES]
    if not themes:
        return None
    then = "then " if told else ""
    who = f"{named(speaker)} {then}talked about" if alone and speaker else f"{TEAM} {then}discussed"
    told.update(stem for theme in themes for stem in theme.stems)
    return Line(closed(f"{who} {listing([theme.text for theme in themes])}"), _shown(themes))


def _shown(themes: Sequence[Phrase]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(i for theme in themes for i in theme.where[0].ids))


def quoted(chosen: Sequence[Sentence], common: Collection[str]) -> list[Line]:
    """What was said, in the third person; the speaker is named where another one spoke before.

    `common`: words that the meeting has in lower case, and that have a capital only for where they stand.
    """
    lines: list[Line] = []
    before: str | None = None
    for at, sentence in enumerate(chosen):
        text = indirect(sentence.text, sentence.speaker, common, again=at > 0 and sentence.speaker == before)
        before = sentence.speaker
        if text:
            lines.append(Line(text, sentence.ids))
    return lines


def duty(task: Task) -> Line:
    """A task as what somebody will do."""
    who = named(task.assigned_to) if task.assigned_to else TEAM
    title = task.title[:1].lower() + task.title[1:] if task.title[1:2].islower() else task.title
    what = third_person(title)
    return Line(closed(f"{who} will {what if is_duty(title) else f'work on {what}'}"), task.evidence)
