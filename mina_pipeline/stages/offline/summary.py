"""Offline summary: the sentences that tell the most, cleaned and cited; decisions, questions, topics, next steps."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from mina_pipeline.meeting import Cited, Question, Segment, Summary, Task, TaskList

from .language import asks, looks_english
from .narrative import Line, narrate
from .phrases import find_nouns
from .polish import polished
from .ranking import DECIDED, FIRM, RISKY, choose, content_stems, rank
from .themes import brief, topics
from .utterances import Sentence, norm, sentences, size_of, words

WORDS = 350
_KEY_POINTS, _DECISIONS, _QUESTIONS, _RISKS, _STEPS = 7, 8, 8, 5, 10
_ANSWER_WINDOW = 6
_LEFT_OPEN = re.compile(
    r"\b(?:leave (?:that|this|it) open|(?:don't|do not) know|no idea|not sure|nobody (?:here )?knows|open question|"
    r"can't (?:say|tell|answer)|have to find out|come back to (?:that|this))\b",
    re.IGNORECASE,
)


def summarize(
    segments: Sequence[Segment],
    *,
    refined: Mapping[str, str] | None = None,
    tasks: TaskList | None = None,
) -> Summary:
    """Summarize a meeting from its own words. Pure; never raises; empty where nothing was said.

    `refined` maps segment ids to refined text; `tasks` become the next steps. `detailed` has at most 350 words,
    and everything shown cites the segments it was said in.
    """
    said = sentences(segments, refined)
    if not said:
        return Summary()
    ranked = rank(said)
    todo = (tasks or TaskList()).tasks
    english = looks_english(word for sentence in said for word in words(sentence.text))
    nouns = find_nouns(said) if english else frozenset[str]()
    chosen = choose(ranked, min(WORDS, max(60, size_of(said) // 6))) or said[:3]
    lines = [Line(polished(sentence.text), sentence.ids) for sentence in chosen]
    if english:
        lines = narrate(said, ranked, supported(todo, segments), nouns) or lines
    shown = clipped(lines, WORDS)
    decided = decisions(said)
    key = [sentence for sentence in choose(ranked, 180) if sentence not in decided][:_KEY_POINTS] or chosen[:3]
    top = ranked[0].sentence if ranked else said[0]
    return Summary(
        brief=brief(said, top, nouns),
        detailed=" ".join(line.text for line in shown),
        key_points=tuple(cited(sentence) for sentence in key),
        decisions=tuple(cited(sentence) for sentence in decided),
        risks=tuple(cited(r.sentence) for r in ranked if RISKY.search(r.sentence.text))[:_RISKS],
        questions=questions(said),
        topics=topics(said, nouns),
        next_steps=tuple(step(task) for task in todo[:_STEPS]),
        evidence=tuple(dict.fromkeys(i for line in shown for i in line.ids)),
    )


def supported(tasks: Iterable[Task], segments: Sequence[Segment]) -> list[Task]:
    """The tasks that the transcript shows, with what they cite of it: others are not the meeting's."""
    ids = {segment.segment_id or str(n) for n, segment in enumerate(segments)}
    found = [replace(task, evidence=tuple(i for i in task.evidence if i in ids)) for task in tasks]
    return [task for task in found if task.evidence]


def cited(sentence: Sentence) -> Cited:
    return Cited(text=polished(sentence.text), evidence=sentence.ids)


def clipped(lines: Iterable[Line], limit: int) -> list[Line]:
    """Whole lines up to so many words."""
    kept: list[Line] = []
    left = limit
    for line in lines:
        left -= len(line.text.split())
        if left < 0:
            break
        kept.append(line)
    return kept


def decisions(said: Sequence[Sentence]) -> list[Sentence]:
    """What was said to be settled, once each: the firmer of two ways to say it, else the first."""
    found: list[Sentence] = []
    for sentence in said:
        own = set(content_stems(sentence.text))
        if not DECIDED.search(sentence.text) or len(own) < 3 or asks(words(sentence.text)):
            continue
        again = [n for n, old in enumerate(found) if len(own & set(content_stems(old.text))) * 2 >= len(own)]
        if not again:
            found.append(sentence)
        elif FIRM.search(sentence.text) and not FIRM.search(found[again[0]].text):
            found[again[0]] = sentence
    return found[:_DECISIONS]


def questions(said: Sequence[Sentence]) -> tuple[Question, ...]:
    """Questions of substance: those left open first, each with the answer that somebody else gave."""
    found: list[tuple[bool, int, Question]] = []
    for at, sentence in enumerate(said):
        own = set(content_stems(sentence.text))
        asked = sentence.text.rstrip().endswith("?") or asks(words(sentence.text))
        if not asked or len(own) < 3:
            continue
        replies = [s for s in said[at + 1 : at + 1 + _ANSWER_WINDOW] if s.speaker != sentence.speaker]
        open_ = any(_LEFT_OPEN.search(s.text) for s in said[at + 1 : at + 1 + _ANSWER_WINDOW])
        answer = next((s for s in replies if len(s.text.split()) > 3 or norm(s.text) in ("yes", "no", "yeah")), None)
        if answer is None and not open_:
            continue  # nobody took it up: talk, not a question of the meeting's
        evidence = sentence.ids if open_ or answer is None else (*sentence.ids, *answer.ids)
        question = Question(
            question=polished(sentence.text).rstrip(".?") + "?",
            answered=not open_,
            answer=None if open_ or answer is None else polished(answer.text),
            evidence=tuple(dict.fromkeys(evidence)),
        )
        found.append((not open_, -len(own), question))
    chosen = sorted(range(len(found)), key=lambda n: found[n][:2])[:_QUESTIONS]
    return tuple(found[n][2] for n in sorted(chosen))


def step(task: Task) -> Cited:
    """A task as a next step: who does what, until when."""
    until = f" ({task.due_text})" if task.due_text else ""
    who = f"{task.assigned_to}: " if task.assigned_to else ""
    return Cited(text=f"{who}{task.title}{until}", evidence=task.evidence)
