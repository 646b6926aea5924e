"""What somebody said, told in the third person: whose words they are, and the words themselves turned round."""

from __future__ import annotations

import re
from collections.abc import Collection

from .casing import is_role
from .language import FILLERS, NEGATIONS, STOP_WORDS, listed
from .polish import closed, trimmed
from .titles import VERBS
from .utterances import HESITATIONS, norm

TEAM = "the team"

# "I" is the speaker, "we" the team, "you" whoever it may be. All are plural here: no verb changes but "am" and "was".
_TURNED = {
    "i": "they", "i'm": "they are", "i've": "they have", "i'll": "they will", "i'd": "they would", "me": "them",
    "my": "their", "mine": "theirs", "myself": "themselves",
    "you": "people", "you're": "people are", "you've": "people have", "you'll": "people will", "you'd": "people would",
    "your": "people's", "yours": "theirs", "yourself": "themselves", "yourselves": "themselves",
    "ours": "theirs", "ourselves": "themselves",
}  # fmt: skip
_SOUNDS = FILLERS | HESITATIONS | {"yeah", "yep"}
_WE = {
    "we": "", "we're": " are", "we've": " have", "we'll": " will", "we'd": " would", "us": "", "let's": " should",
    "our": "'s",
}  # fmt: skip
_THEY = {"us": "them", "our": "their"}
_PLAIN = {
    "wanna": "want to", "gotta": "have to", "'cause": "because", "it's": "it is",
    "that's": "that is", "there's": "there is", "they're": "they are", "they've": "they have", "they'll": "they will",
    "it'll": "it will", "don't": "do not", "doesn't": "does not", "didn't": "did not", "isn't": "is not",
    "aren't": "are not", "wasn't": "was not", "weren't": "were not", "can't": "cannot", "won't": "will not",
    "wouldn't": "would not", "shouldn't": "should not", "couldn't": "could not", "haven't": "have not",
    "hasn't": "has not",
}  # fmt: skip
_HEDGES = re.compile(
    r"(?:(?P<before>[\w']+) )?\b(?:(?:i|we) (?:think|guess|suppose|mean|believe)(?: that)?(?! (?:about|of|so|not)\b)|"
    r"you know|basically|actually|obviously|of course|i would say|let's (?:say|see)|or something(?: like that)?|"
    r"or whatever|and stuff|just|really|(?:like|as) i said)\b,?(?: |$)",
    re.IGNORECASE,
)
# After these the same words are no hedge: "not just", "let you know", "what i think".
_MEANT_BEFORE = NEGATIONS | listed("do did does if as what how when why who would could will can let to should")
_TWICE = re.compile(r"\b(\w+ \w+) \1\b")
_AGREED = {"am they": "are they", "they am": "they are", "was they": "were they", "they was": "they were"}
_DISAGREE = re.compile(r"\b(?:am they|they am|was they|they was)\b")
_WILL = re.compile(rf"\b(?:am|is|are) (?:gonna|going to (?=(?:{'|'.join(sorted(VERBS))})\b))(?: |$)?", re.IGNORECASE)
_SUGGESTS = re.compile(
    r"\b(?:(?:we|you) (?:should|could|might)|let's|maybe we|would be (?:nice|good|better|great)|"
    r"(?:i|we)(?:'d| would) (?:like|prefer)|i (?:suggest|propose|recommend))\b",
    re.IGNORECASE,
)
_LEAST = 3


def named(speaker: str | None) -> str:
    """A speaker as the subject of a sentence: a person by name, a role with its article."""
    label = " ".join((speaker or "").split())
    if not label:
        return "someone"
    return f"the {label}" if is_role(label) else label


def third_person(text: str) -> str:
    """The words with "I", "we" and "you" turned round, hedges out, contractions resolved; nothing is added."""
    plain = _HEDGES.sub(_unhedged, text.replace("’", "'"))
    out: list[str] = []
    team = False
    for word in plain.split():
        low = norm(word)
        if low in _SOUNDS:
            continue
        if len(word) > 1 and word.isupper():  # "US" is no pronoun
            out.append(word)
            continue
        turned = _TURNED.get(low) or _PLAIN.get(low)
        if low in _WE:
            turned = _THEY.get(low, f"they{_WE[low]}") if team else f"{TEAM}{_WE[low]}"
            team = True
        tail = word[len(word.rstrip(".,;:!?")) :]
        out.append(word if turned is None else turned + tail)
    told = _DISAGREE.sub(lambda found: _AGREED[found.group()], " ".join(out))
    return _TWICE.sub(r"\1", _WILL.sub("will ", told).replace("gonna", "going to")).strip()


def _unhedged(found: re.Match[str]) -> str:
    before = found["before"]
    if before is None:
        return ""
    return found.group() if before.lower() in _MEANT_BEFORE or before.lower().endswith("n't") else f"{before} "


def indirect(text: str, speaker: str | None, common: Collection[str], *, again: bool) -> str:
    """A sentence as somebody else would tell it, "" where next to nothing is left of it.

    `common`: words that need no capital. `again`: the same speaker is told of in the sentence before, and need not be
    named once more.
    """
    told = trimmed(third_person(trimmed(text))).rstrip(" .,?!…")
    if len(told.split()) < _LEAST:
        return ""
    if again:
        return closed(told)
    first, _, rest = told.partition(" ")
    if norm(first) in STOP_WORDS or norm(first) in common:  # others may have a capital of their own
        first = first.lower()
    verb = "suggested" if _SUGGESTS.search(text) else "said"
    who = f"{named(speaker)} {verb}" if speaker else f"it was {verb}"
    return closed(f"{who} that {first} {rest}")
