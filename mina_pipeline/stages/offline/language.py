"""English as the offline stages know it: fillers, stop words, numbers, negations, what asks a question."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable


def listed(words: str) -> frozenset[str]:
    """The words of a text as a set."""
    return frozenset(words.split())


FILLERS = listed("um umm uh uhh uhm er erm eh hm hmm hmmm mm mmm ehm äh ähm")
"""Sounds, not words. Never a word that may mean something ("like", "well", "right" are not here)."""

BACKCHANNELS = listed(
    "yeah yep yup yes ok okay right sure mm-hmm uh-huh mhm mm-hm mm hmm hm oh ah aha alright great cool "
    "exactly good fine no nope nah true wow really thanks indeed absolutely definitely"
)
"""A turn of nothing else takes the floor from nobody."""

NUMBER_WORDS = listed(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred "
    "hundreds thousand thousands million millions billion billions trillion dozen half quarter third "
    "first second fourth fifth sixth seventh eighth ninth tenth once twice double triple"
)

NEGATIONS = listed("no not none never nobody nothing nowhere neither nor cannot without nope nah")

STOP_WORDS = listed(
    "a about above actually after again against ain't all almost already alright also although always am "
    "an and any anybody anyone anything anyway are aren't around as at away back basically be became "
    "because become been before being below between both but by came can can't cannot 'cause cause come "
    "could couldn't course did didn't do does doesn't doing don't done down each either else enough even "
    "ever every everybody everyone everything exactly few for from further get gets getting give go goes "
    "going gone gonna good got gotta great guess guys had hadn't has hasn't have haven't having he he'd "
    "he'll he's her here here's hers herself hi him himself his hello how how's however i i'd i'll i'm "
    "i've if in instead into is isn't it it'd it'll it's its itself just kind kinda know knows let let's "
    "like likes little look looking looks lot lots made make makes making many may maybe me mean means "
    "might mine more most much must my myself need never nice no nobody none nor not nothing now of off "
    "oh ok okay on once only onto or other others otherwise our ours ourselves out over own perhaps "
    "please possibly pretty probably put quite rather really right said same saw say saying says see seem "
    "seems seen shall she she'd she'll she's should shouldn't since so some somebody someone something "
    "sometimes somewhere sort still stuff such sure take than thank thanks that that'd that'll that's the "
    "their theirs them themselves then there there's these they they'd they'll they're they've thing "
    "things think thinking thought this those though through to too took totally toward towards tried try "
    "trying under until up upon us use used using very wanna want wanted wants was wasn't way we we'd "
    "we'll we're we've well went were weren't what what's whatever when where where's whether which while "
    "who who's whole whom whose why will with within without won't would wouldn't yeah yep yes yet you "
    "you'd you'll you're you've your yours yourself yourselves bit able across actual alright bye "
    "different done fine obviously whereas"
)
"""Words that carry no subject: the closed classes, and what everybody says in every meeting."""

_SHARED_WORDS = listed(
    "a all also am an as at bit came come course do even for from had he her hi in is let like man "
    "mine me no ok okay of on once or over per quite said so some stand still sure thing to try under "
    "up us use via want was way we were will"
)
"""Stop words that are common words of another language in Latin script too: they tell nothing."""

QUESTION_STARTS = listed("what who whose whom where when why how which")
AUXILIARIES = listed(
    "is are was were do does did can could will would should shall may have has had am isn't aren't "
    "wasn't weren't don't doesn't didn't can't couldn't won't wouldn't shouldn't haven't hasn't hadn't"
)
_SUBJECTS = listed(
    "i you we they he she it this that these those there the a an any anyone anybody everyone everybody "
    "somebody someone anything everything something my your our their his her its"
)
_LEAD_INS = listed("okay ok so well and but or oh yeah yes no right alright now then sorry because")
_TAGS = re.compile(
    r"(?:(?:is|are|was|were|do|does|did|can|could|will|would|should|has|have)n't"
    r"|won't|can't|don't) (?:i|you|we|they|he|she|it|there)$"
)
_DECLARED = re.compile(r"^(?:what|how|where|who|why|when|which)(?:ever)? (?:i|we|you|they|he|she|it)\b")
_SET_PHRASES = (
    "how about",
    "what about",
    "what if",
    "how come",
    "any questions",
    "any other",
    "anything else",
    "anyone else",
)

_WORD = re.compile(r"[^\W_]+(?:['’\-][^\W_]+)*")
_MARKS = "\u200c\u200d"


def tokens(text: str) -> list[str]:
    """The words of a text, lower-cased; apostrophes come out straight, hyphenated words stay one."""
    if text.isascii():
        return _WORD.findall(text.lower())
    found: list[str] = []
    for run in text.lower().replace("’", "'").split():
        # Combining marks are no \w: words of a script that needs them are taken by the space.
        if any(char in _MARKS or unicodedata.category(char).startswith("M") for char in run):
            found.append(run.strip(".,;:!?\"'()[]«»“”…،؛؟।"))
        else:
            found.extend(_WORD.findall(run))
    return [word for word in found if word]


def is_question(text: str) -> bool:
    """Whether a sentence asks, by its mark or, without one, by the form of English questions."""
    stripped = text.rstrip(" \"'”’)")
    if stripped.endswith(("?", "؟", "？")):
        return True
    if stripped.endswith((".", "!", "…")):
        return False
    return asks(tokens(text))


def asks(words: Iterable[str]) -> bool:
    """Whether words that form one sentence ask something. Precision first: a bare "what we need" does not."""
    said: list[str] = []
    for word in words:
        if word not in FILLERS and word not in said[-1:]:
            said.append(word)
    while len(said) > 2 and said[0] in _LEAD_INS:
        said = said[1:]
    if len(said) < 2:
        return bool(said) and said[0] in {"what", "why", "who", "where", "when", "how"}
    joined = " ".join(said)
    if joined.startswith(_SET_PHRASES):
        return True
    first, second = said[0], said[1]
    if first in AUXILIARIES and second in _SUBJECTS:
        return not (first in {"is", "was", "have", "had", "has"} and second in {"the", "a", "an", "my", "to"})
    if first in {"what's", "who's", "where's", "how's", "when's"}:
        return len(said) > 2
    if first in QUESTION_STARTS and not _DECLARED.match(joined):
        if second in AUXILIARIES:
            return first not in {"which", "when", "who"} or (len(said) > 2 and said[2] in _SUBJECTS)
        if first in {"what", "which"} and second in {"kind", "sort", "type"}:
            return any(word in AUXILIARIES for word in said[2:6])
        return first == "how" and second in {"many", "much", "long", "often", "far", "big"}
    return len(said) >= 4 and bool(_TAGS.search(joined))


def is_number(word: str) -> bool:
    """Whether a lower-cased word is, or holds, a number."""
    if any(char.isnumeric() for char in word):
        return True
    return any(part in NUMBER_WORDS for part in word.split("-"))


def is_negation(word: str) -> bool:
    """Whether a lower-cased word denies."""
    return word in NEGATIONS or word.replace("’", "'").endswith("n't")


def looks_english(words: Iterable[str]) -> bool:
    """Whether enough of the words are English alone; sounds like "um" tell only where there is nothing else."""
    total = known = heard = 0
    for word in words:
        if word in FILLERS or word in BACKCHANNELS:
            heard += 1
            continue
        total += 1
        known += word in STOP_WORDS and word not in _SHARED_WORDS
    return known >= total * 0.15 if total else heard > 0
