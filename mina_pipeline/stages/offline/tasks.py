"""Tasks found by rules: who commits to what, who is asked, and what a closing recap hands out."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import pairwise

from ...meeting import Segment, Task, TaskList
from .dates import parse_due
from .language import FILLERS, STOP_WORDS, listed, tokens
from .titles import WORK, cased, from_verb, says_what, title_of
from .utterances import Sentence, sentences

_THRESHOLD = 0.4
_FIRM = 0.2
_SHORT_MEETING = 60
_ANY_DAY = date(2000, 1, 3)
_ARTICLES = listed("the a an our this that my your its")
_RECAP_SEGMENTS, _MOST = 25, 30

_FIRM_WORK = listed(
    "send email e-mail mail write type prepare check investigate research review draft update schedule book contact "
    "organise organize arrange share circulate confirm upload compile submit summarise summarize attach follow "
    "deploy order forward document deliver implement ping chase"
)
_IDLE = listed(
    "say just see show start be have go begin let tell do mention skip explain stop admit repeat wait agree "
    "guess know like mean want need never not always give keep leave come use"
)
_TALK = re.compile(
    r"\b(?:let me (?:see|think|just)|let's (?:see|say)|i'll just (?:say|show|go|start)|i would say|i will say|"
    r"as i said|you know what|if you (?:want|have|look)|we'll see)\b"
)
_CLOSING = re.compile(
    r"\b(?:(?:for|before|until|by|in) (?:the|our) next meeting|next meeting|next steps?|action (?:items?|points?)|"
    r"to ?do list|individual(?:ly)? work|working individually|individually|to wrap (?:this |it )?up|wrap(?:ping)? up|"
    r"(?:so )?to (?:sum|recap)|to summari[sz]e|to[- ]dos?|follow[- ]ups?|before we (?:finish|close|go))\b"
)
_HEDGE = (
    r"(?:(?:just|also|then|probably|maybe|all|still|really|please|um|uh|now|we|basically|both|be|all of|"
    r"together) ){0,3}"
)
_DUTY = (
    r"(?:will have to|will need to|will be|will|'ll have to|'ll need to|'ll be|'ll|shall|should|must|has to|have to|"
    r"had to|needs to|need to|is going to be|"
    r"is going to|are going to be|are going to|is gonna be|is gonna|are gonna be|are gonna|'re going to be|"
    r"'re going to|'re gonna be|'re gonna|is supposed to|are supposed to|'re supposed to|gotta|got to)"
)
_SELF = re.compile(
    rf"\b(?:i'll|i will|i'm going to|i'm gonna|i am going to|i can|i have to|i need to|i'd better|let me) "
    rf"{_HEDGE}(?P<verb>[\w-]+)"
)
_ASK = re.compile(rf"\b(?:(?:can|could|would|will) you|(?:please)) {_HEDGE}(?P<verb>[\w-]+)")
_YOU = re.compile(rf"\byou ?(?:all )?{_DUTY} {_HEDGE}(?P<verb>[\w-]+)")
_WE = re.compile(rf"\bwe ?(?:all )?{_DUTY} {_HEDGE}(?P<verb>[\w-]+)")
_SOMEONE_DUTY = re.compile(rf" ?(?:who |she |he |you |they )?{_HEDGE}{_DUTY} {_HEDGE}(?P<verb>[\w-]+)")
_SOMEONE_WORKS = re.compile(rf" (?:and )?{_HEDGE}(?P<verb>work|works|working|looks?|looking) ")
_NAMED = re.compile(rf"\b(?P<name>[A-Z][a-z]+) {_DUTY} {_HEDGE}(?P<verb>[\w-]+)")
_HANDED = re.compile(r"(?: \w+){0,4} (?:you|will|work|to)\b")
_NOTHING = re.compile(r" (?:nothing|anything|everything else)\b")
_MINUTES = re.compile(
    r"\b(?:(?:type|write|make|writing|typing|making|put|send)\b.{0,24}\b(?:minutes|report|summary|notes))\b"
)
_PARTS = re.compile(r"\w+")
_AGENT = r"[a-z]{3,}(?:er|or|ert|ist|ive|ian|ant)\b"
_URGENT = re.compile(r"\b(?:urgent(?:ly)?|asap|as soon as possible|immediately|right away|critical|emergency)\b")
_HIGH = re.compile(r"\b(?:important|priority|crucial|must|essential|top of the list|make sure|deadline|key)\b")
_LOW = re.compile(
    r"\b(?:maybe|if (?:you|i|we) (?:have|get) (?:the )?time|nice to have|no rush|eventually|some ?day|at some point)\b"
)
_TYPES = (
    ("decision", re.compile(r"\b(?:decide|choose|make a decision|settle on|pick)\b")),
    (
        "research",
        re.compile(
            r"\b(?:research|investigate|look into|find out|explore|analy[sz]e|study|look at|check (?:if|whether))\b"
        ),
    ),
    ("follow_up", re.compile(r"\b(?:follow[- ]up|get back to|check in|touch base|call|ping|chase|remind|catch up)\b")),
)


@dataclass(frozen=True, slots=True)
class _Found:
    """A possible task: `at` and `verb` count the words of its sentence, `rank` is how sure it is.

    `at`: where it begins, be it with whose it is; `verb`: where what is to be done begins; `action`: the words from
    `at` on.
    """

    sentence: int
    at: int
    verb: int
    rank: float
    owner: str | None
    action: tuple[str, ...] = ()


def extract_tasks(
    segments: Sequence[Segment], *, meeting_date: date, refined: Mapping[str, str] | None = None
) -> TaskList:
    """The tasks of a meeting, the surest first. `segments` are sorted by start and carry ids.

    Due dates count from `meeting_date`. `refined` maps segment ids to corrected text ("" where nothing is left).
    Never raises: words it does not understand hold no tasks.
    """
    # Found in the raw words: corrected ones have sentence ends that part a name from its verb.
    segments = [s for s in segments if refined is None or refined.get(s.segment_id or "", s.text)]
    said = sentences(segments)
    people = _People(segments)
    recaps = [s.first for s in said if s.position > 0.5 and _CLOSING.search(s.text.lower())]
    long = len(segments) > _SHORT_MEETING
    found: list[_Found] = []
    for sentence in said:
        at = bisect_right(recaps, sentence.first) - 1
        recap = at >= 0 and sentence.first - recaps[at] <= _RECAP_SEGMENTS
        base = (0.2 if recap else 0.0) + (_place_bonus(sentence.position) if long else 0.1)
        found.extend(_candidates(said, sentence, people, recap, base))
    best = _best(said, found, len(segments))
    return TaskList(tasks=tuple(_as_task(said, segments, one, meeting_date, refined or {}) for one in best))


class _People:
    """The speakers' labels, and how others call them."""

    def __init__(self, segments: Sequence[Segment]) -> None:
        labels = dict.fromkeys(s.speaker for s in segments if s.speaker)
        parts = {label: tokens(label) for label in labels}
        counts = Counter(word for words in parts.values() for word in dict.fromkeys(words))
        # A word that follows an article is a thing ("the project will"), not somebody's name.
        things = {w for s in segments for a, w in pairwise(tokens(s.text)) if a in _ARTICLES and w in counts}
        self._patterns: list[tuple[str, re.Pattern[str]]] = []
        self._by_word: dict[str, list[int]] = {}
        for label, words in parts.items():
            if not any(len(word) > 2 for word in words):
                continue
            own = [w for w in words if counts[w] == 1 and len(w) > 2 and not w.isdigit()]
            ways = [rf"{re.escape(' '.join(words))}(?: {_AGENT})?", *(rf"{re.escape(w)} {_AGENT}" for w in own)]
            if words[0] in own and words[0] not in STOP_WORDS | things:
                ways.append(rf"{re.escape(words[0])}(?= (?:{_DUTY}|can|could|would)\b)")
            if len(words) > 1 and len(words[-1]) > 5 and words[0] in own:
                ways.append(rf"{re.escape(words[0])} {re.escape(words[-1][:5])}\w*")
            for word in {part for w in (*own, words[-1]) for part in _PARTS.findall(w)}:
                self._by_word.setdefault(word, []).append(len(self._patterns))
            self._patterns.append((label, re.compile(rf"\b(?:{'|'.join(ways)})(?!\w)")))

    def named(self, text: str) -> list[tuple[int, int, str]]:
        """Where `text` (lower case) names a speaker: (start, end, label), in order."""
        # Every way to name somebody has the label's last word or one of its own: few of many speakers come in question.
        likely = {n for word in _PARTS.findall(text) if (near := self._by_word.get(word)) for n in near}
        found = (self._patterns[n] for n in likely)
        return sorted((m.start(), m.end(), label) for label, p in found for m in p.finditer(text))


def _candidates(
    said: Sequence[Sentence], sentence: Sentence, people: _People, recap: bool, base: float
) -> list[_Found]:
    words = sentence.text.split()
    joined = " ".join(words)
    text = joined.lower().replace("’", "'")
    if len(text) != len(joined):  # letters that grow when lowered: places would not fit, and it is not English
        return []
    if _TALK.search(text):
        base -= 0.25
    out: list[_Found] = []

    def add(start: int, verb: int, rank: float, owner: str | None) -> None:
        at, done = text.count(" ", 0, start), text.count(" ", 0, verb)
        out.append(_Found(sentence.index, at, done, base + rank, owner))

    names = people.named(text)

    def addressed(before: int, step: int) -> str | None:
        near = [label for _, end, label in names if end <= before + 1]
        return near[-1] if near else _called_last(said, sentence, people) or _other(said, sentence, step)

    for start, end, label in names:
        duty = _SOMEONE_DUTY.match(text, end)
        if duty and duty["verb"] not in _IDLE:
            add(start, duty.start("verb"), 0.4 + _work(duty["verb"]), label)
        elif recap and (works := _SOMEONE_WORKS.match(text, end)):
            add(start, works.start("verb"), 0.4, label)
        elif recap and sentence.position > 0.8 and len(words) > 3:
            handed = _HANDED.match(text, end) or re.search(r"\b(?:as|for|and)(?: the| our)? $", text[:start])
            add(start, min(end + 1, len(text)), 0.3 if handed else 0.15, label)
    for found in _SELF.finditer(text):
        if (work := _work(found["verb"])) and not _NOTHING.match(text, found.end()):
            sure = found.group().startswith(("i'll", "i will")) and work == _FIRM
            add(found.start(), found.start("verb"), (0.3 if sure else 0.15) + work, sentence.speaker)
    for found in _ASK.finditer(text):
        if work := _work(found["verb"]):
            named = any(end <= found.start() + 1 <= end + 8 for _, end, _ in names)
            if named or work == _FIRM:
                add(found.start(), found.start("verb"), (0.35 if named else 0.25) + work, addressed(found.start(), -1))
    for found in _YOU.finditer(text):
        if work := _work(found["verb"]):
            add(found.start(), found.start("verb"), 0.15 + work, addressed(found.start(), 1))
    for found in _WE.finditer(text):
        if recap and (work := _work(found["verb"])):
            add(found.start(), found.start("verb"), 0.05 + work, None)
    for found in _NAMED.finditer(joined):
        name = found["name"]
        if name.lower() not in STOP_WORDS | FILLERS and not people.named(name.lower()) and _work(found["verb"]):
            add(found.start(), found.start("verb"), 0.3 + _work(found["verb"]), name)
    minutes = _MINUTES.search(text)
    if minutes and not out and sentence.position > 0.5:
        add(minutes.start(), minutes.start(), 0.25, sentence.speaker if re.search(r"\bi\b", text) else None)
    return _bounded(words, out)


def _bounded(words: Sequence[str], found: Sequence[_Found]) -> list[_Found]:
    """Each candidate with its words: up to where the next person's begin. A due date makes it surer."""
    out: list[_Found] = []
    for one in found:
        ends = [other.at for other in found if other.at > one.at and other.owner != one.owner]
        action = tuple(words[one.at : min(ends, default=len(words))])
        dated = parse_due(" ".join(action), _ANY_DAY) is not None
        out.append(replace(one, action=action, rank=one.rank + (0.2 if dated else 0.0)))
    return out


def _called_last(said: Sequence[Sentence], sentence: Sentence, people: _People) -> str | None:
    """Whom the same speaker named with the last words before this sentence."""
    for before in range(sentence.index - 1, max(-1, sentence.index - 4), -1):
        if said[before].speaker == sentence.speaker:
            text = said[before].text.lower()
            names = people.named(text)
            return names[-1][2] if names and len(text) - names[-1][1] < 12 else None
    return None


def _place_bonus(position: float) -> float:
    if position < 0.15:
        return -0.15
    return 0.2 if position > 0.92 else 0.1 if position > 0.8 else 0.0


def _work(verb: str) -> float:
    """What a verb tells of a task: 0 nothing. "working", "making" count as "work", "make"."""
    stems = (verb, verb[:-3], verb[:-3] + "e") if verb.endswith("ing") else (verb,)
    if any(stem in _FIRM_WORK for stem in stems):
        return _FIRM
    return 0.1 if any(stem in WORK and stem not in _IDLE for stem in stems) else 0.0


def _other(said: Sequence[Sentence], sentence: Sentence, step: int) -> str | None:
    """Who else speaks next (`step` 1) or spoke last (-1), within a few sentences."""
    for away in range(1, 5):
        at = sentence.index + step * away
        if 0 <= at < len(said) and said[at].speaker not in (None, sentence.speaker):
            return said[at].speaker
    return None


def _best(said: Sequence[Sentence], found: Sequence[_Found], segments: int) -> list[_Found]:
    """The surest candidates, doubles left out: the same words, or the same person a moment apart."""
    kept: list[tuple[_Found, frozenset[str]]] = []
    limit = min(_MOST, 4 + segments // 100)
    for one in sorted(found, key=lambda f: (-f.rank, f.sentence, f.at)):
        if one.rank < _THRESHOLD or len(kept) >= limit:
            break
        content = _content(" ".join(one.action))
        if content and says_what(_title(one)) and not any(_same(said, one, content, *other) for other in kept):
            kept.append((one, content))
    return [one for one, _ in kept]


def _same(said: Sequence[Sentence], one: _Found, a: frozenset[str], other: _Found, b: frozenset[str]) -> bool:
    near = abs(said[one.sentence].first - said[other.sentence].first) <= 3
    if near and one.owner == other.owner and not _distinct(a, b, one, other):
        return True
    shared = len(a & b)
    return shared >= 2 and shared * 2 >= min(len(a), len(b)) and (one.owner == other.owner or shared >= 4)


def _distinct(a: frozenset[str], b: frozenset[str], one: _Found, other: _Found) -> bool:
    """Whether two things the same person takes on, both surely, share no word."""
    return one.sentence != other.sentence and min(one.rank, other.rank) >= _THRESHOLD + _FIRM and not a & b


def _title(found: _Found) -> str:
    return title_of(from_verb(found.action[found.verb - found.at :] or found.action))


def _content(text: str) -> frozenset[str]:
    return frozenset(w for w in tokens(text) if w not in STOP_WORDS and w not in FILLERS and len(w) > 2)


def _as_task(
    said: Sequence[Sentence], segments: Sequence[Segment], found: _Found, base: date, refined: Mapping[str, str]
) -> Task:
    sentence = said[found.sentence]
    low = sentence.text.lower()
    due = parse_due(" ".join(found.action), base) or parse_due(sentence.text, base)
    # The words of the task first: the sentence may have begun long before.
    marks = dict.fromkeys((*sentence.marks[found.at : found.at + len(found.action)], *sentence.marks))
    evidence = tuple(segments[mark].segment_id or str(mark) for mark in marks)
    shown = " ".join(refined[i] for i in sentence.ids if refined.get(i))
    kind = next((name for name, pattern in _TYPES if pattern.search(low)), "action_item")
    priority = (
        "urgent" if _URGENT.search(low) else "high" if _HIGH.search(low) else "low" if _LOW.search(low) else "medium"
    )
    return Task(
        title=cased(_title(found), shown),
        description=shown or sentence.text,
        task_type=kind,
        priority=priority,
        assigned_to=found.owner,
        due_date=due.date.isoformat() if due else None,
        due_text=cased(due.text, shown) if due else None,
        confidence_score=round(max(0.0, min(1.0, found.rank)), 2),
        evidence=evidence,
    )
