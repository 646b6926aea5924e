"""Offline summary: the sentences that tell the most, cleaned and cited; decisions, questions, topics, next steps."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from mina_pipeline.meeting import Cited, Question, Segment, Summary, Task, TaskList

from .language import BACKCHANNELS, FILLERS, STOP_WORDS, asks, is_number
from .ranking import DECIDED, FIRM, RISKY, choose, content_stems, rank
from .utterances import Sentence, norm, sentences, words

WORDS = 350
_KEY_POINTS, _DECISIONS, _QUESTIONS, _RISKS, _STEPS, _TOPICS = 7, 8, 8, 5, 10, 6
_ANSWER_WINDOW = 6
_SAYS_LITTLE = STOP_WORDS | BACKCHANNELS
_OPENING = re.compile(
    r"^(?:(?:okay|ok|so|well|and|but|yeah|yes|right|alright|now|then|oh|no|because|like|actually|basically|i mean|"
    r"you know|i think|i guess|i suppose|um|uh)[,.]?\s+)+",
    re.IGNORECASE,
)
_TRAILING = re.compile(
    r"(?:[,.]?\s+(?:and|but|so|or|because|the|a|an|to|of|if|that|which|um|uh|like|you know|i mean|is|it's|with|in|for|"
    r"we|i|they|you))+[.,?!]?$",
    re.IGNORECASE,
)
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
    budget = min(WORDS, max(60, sum(len(s.text.split()) for s in said) // 6))
    chosen = choose(ranked, budget) or said[:3]
    shown = clipped([(sentence, polished(sentence.text)) for sentence in chosen], WORDS)
    decided = decisions(said)
    key = [sentence for sentence in choose(ranked, 180) if sentence not in decided][:_KEY_POINTS] or chosen[:3]
    top = ranked[0].sentence if ranked else said[0]
    return Summary(
        brief=brief(said, top),
        detailed=" ".join(text for _, text in shown),
        key_points=tuple(cited(sentence) for sentence in key),
        decisions=tuple(cited(sentence) for sentence in decided),
        risks=tuple(cited(r.sentence) for r in ranked if RISKY.search(r.sentence.text))[:_RISKS],
        questions=questions(said),
        topics=topics(said),
        next_steps=tuple(step(task) for task in (tasks or TaskList()).tasks[:_STEPS]),
        evidence=tuple(dict.fromkeys(i for sentence, _ in shown for i in sentence.ids)),
    )


def polished(text: str) -> str:
    """A sentence as it is shown: without leading and trailing small talk, capitalised, closed."""
    out = _OPENING.sub("", text.strip())
    out = " ".join(without_stutter(word for word in out.split() if norm(word) not in FILLERS))
    out = (_TRAILING.sub("", out) or text).strip(" ,;-")
    out = re.sub(r"\bi(?='|\b)", "I", out)
    out = out[:1].upper() + out[1:]
    return out if out[-1:] in ".?!…" else out + "."


def without_stutter(said: Iterable[str]) -> Iterable[str]:
    """Words that are not said twice in a row; numbers and emphasis are."""
    before = ""
    for word in said:
        now = norm(word)
        if now != before or is_number(now) or now in ("very", "no", "really"):
            yield word
        before = now


def cited(sentence: Sentence) -> Cited:
    return Cited(text=polished(sentence.text), evidence=sentence.ids)


def clipped(shown: Iterable[tuple[Sentence, str]], limit: int) -> list[tuple[Sentence, str]]:
    """Whole sentences up to so many words."""
    kept: list[tuple[Sentence, str]] = []
    left = limit
    for sentence, text in shown:
        left -= len(text.split())
        if left < 0:
            break
        kept.append((sentence, text))
    return kept


def brief(said: Sequence[Sentence], top: Sentence) -> str:
    """One or two sentences: who talked about what, and the most telling thing that was said."""
    people = [name for name in dict.fromkeys(s.speaker for s in said) if name]
    themes = labels(said, 3)
    parts = []
    if themes:
        who = f"{listing(people)} talked" if 0 < len(people) <= 6 else "The meeting was"
        parts.append(f"{who} about {listing(themes)}.")
    return " ".join([*parts, polished(top.text)])


def listing(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else ""


def labels(said: Sequence[Sentence], count: int, common: frozenset[str] = frozenset()) -> list[str]:
    """The words and pairs of words that these sentences come back to most."""
    single, pairs = Counter[str](), Counter[tuple[str, str]]()
    for sentence in said:
        own = words(sentence.text)
        for at, word in enumerate(own):
            if not telling(word) or word in common:
                continue
            single[word] += 1
            if at and telling(own[at - 1]) and own[at - 1] != word:
                pairs[own[at - 1], word] += 1
    scored = [(n * 2.2, " ".join(pair)) for pair, n in pairs.items() if n > 1]
    scored += [(float(n), word) for word, n in single.items()]
    found: list[str] = []
    for _, label in sorted(scored, key=lambda item: (-item[0], item[1])):
        if not any(set(content_stems(label)) & set(content_stems(other)) for other in found):
            found.append(label)
        if len(found) == count:
            break
    return found


def telling(word: str) -> bool:
    return len(word) > 3 and word.isalpha() and not is_number(word) and word not in _SAYS_LITTLE


def topics(said: Sequence[Sentence]) -> tuple[Cited, ...]:
    """The meeting in equal stretches, each under what it comes back to, with where that is said."""
    count = max(1, min(_TOPICS, len(said) // 25))
    size = -(-len(said) // count)
    found: list[Cited] = []
    seen: set[str] = set()
    for start in range(0, len(said), size):
        stretch = said[start : start + size]
        own = [label for label in labels(stretch, 4) if label not in seen][:2]
        if not own:
            continue
        seen.update(own)
        stems = {s for label in own for s in content_stems(label)}
        where = [s for s in stretch if stems & set(content_stems(s.text))][:3]
        found.append(Cited(text=listing(own), evidence=tuple(dict.fromkeys(i for s in where for i in s.ids))))
    return tuple(found)


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
