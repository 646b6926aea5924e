"""A task's title: from its verb to where the words turn to something else."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .language import FILLERS, listed
from .utterances import norm

LONGEST = 80
"""Characters."""

WORK = listed(
    "send email e-mail mail write type prepare check find look investigate research review draft update "
    "schedule book call contact organise organize arrange finish complete make create design draw build fix "
    "work share put talk ask set discuss deliver present test try bring collect gather report summarise "
    "summarize think provide upload circulate confirm evaluate compile document implement deploy order buy "
    "follow sort get develop focus submit print model remember attach decide define handle chase ping read study "
    "analyse analyze plan post forward file merge run figure"
)
"""What people do after a meeting. Other verbs ("press", "click") are said of the thing that is discussed."""

VERBS = WORK | listed(
    "take give keep have be use see show start come go tell mention explain say let do change move need want like add "
    "include stay stick introduce begin close choose continue cost sell pick leave play press produce"
)
_TRAILING = listed(
    "and but so or um uh because the a an to of that which i you we it's in on for with if as like is are be "
    "i'm we're you're my our your well okay ok kay right then yeah yes not was i'll we'll you'll"
)
_HEDGES = re.compile(
    r"\b(?:(?:i|we) (?:guess|mean|think|suppose)|you know|(?:sort|kind) of|basically|actually|just|really)\b,? ?",
    re.IGNORECASE,
)
_GOES_ON = re.compile(r"\b(on|to|at|of|for|with) (?:that's|it's)(?!\w)", re.IGNORECASE)
_TURN = re.compile(
    r"[,.;]? (?:because|'?cause|but|okay|i (?:realised|realized)|(?:that|it)'s|is that|"
    r"(?:and|so|or) (?:i|you|we|they|he|she|it|then|that|that's|the|i'll|you'll|we'll|i'm|we're|you're|it's)|"
    r"(?:i|you|we|they)'(?:ll|m|re|ve))(?!\w)",
    re.IGNORECASE,
)
_BEGINNING = re.compile(
    r"^(?:that's \w+ (?=that's)|that's |only |now |we |you're |you |will |gonna |be )+", re.IGNORECASE
)
_LEAST = 1
_SEARCHED = 6


def title_of(words: Sequence[str]) -> str:
    """The title that these words of speech make, their verb in its base form first; "" where nothing is left."""
    plain = " ".join(word for word in words if word.strip(".,?!").lower() not in FILLERS)
    said = _BEGINNING.sub("", _GOES_ON.sub(r"\1", _HEDGES.sub("", plain))).split()
    said = [word for n, word in enumerate(said) if not n or word.lower() != said[n - 1].lower()]
    said = [base_form(said[0]), *said[1:]] if said else said
    text = " ".join(said)
    turn = _TURN.search(text, len(" ".join(said[:_LEAST])))
    said = text[: turn.start() if turn else None].split()
    while len(said) > 1 and (len(" ".join(said)) > LONGEST or norm(said[-1]) in _TRAILING):
        said.pop()
    text = " ".join(said).strip(" .,;:?!-\"'")[:LONGEST].strip()
    return text[:1].upper() + text[1:]


def from_verb(words: Sequence[str]) -> Sequence[str]:
    """The words from what is to be done, where a verb of work is among the first; else all."""
    low = [norm(word) for word in words[:_SEARCHED]]
    return next((words[at:] for at, word in enumerate(low) if base_form(word) in WORK), words)


def base_form(verb: str) -> str:
    """ "work" for "working" and "works"; other words stay."""
    low = verb.lower()
    stems = (low[:-3], low[:-3] + "e", low[:-4]) if low.endswith("ing") else (low[:-1],) if low.endswith("s") else ()
    return next((stem for stem in stems if stem in VERBS), verb)


def is_duty(title: str) -> bool:
    """Whether a title begins with what somebody does ("Send ...")."""
    return title.split(" ", 1)[0].lower() in VERBS


def says_what(title: str) -> bool:
    """Whether a title is more than a verb alone."""
    return bool(title) and title.lower() not in WORK


def cased(text: str, shown: str) -> str:
    """`text` with the capitals that its words have in `shown`, the corrected text, away from sentence starts."""
    capital = {w.strip(".,;:?!").lower(): w.strip(".,;:?!") for w in shown.split()[1:] if w[:1].isupper()}
    return " ".join(capital.get(word, word) if word.islower() else word for word in text.split())
