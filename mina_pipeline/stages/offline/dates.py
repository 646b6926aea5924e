"""Due dates as people say them: an explicit grammar over spans found by pattern, never a fuzzy search."""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, timedelta


@dataclass(frozen=True, slots=True)
class Due:
    """A day something is due, and the words that say so, as they stand in the text."""

    date: date
    text: str


_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_ONES = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen".split()
_TEENS = "seventeen eighteen nineteen twenty".split()
_FIRST = "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth".split()
_LATER = "thirteenth fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth twentieth".split()
_CARDINALS = {word: n for n, word in enumerate(_ONES + _TEENS, 1)} | {
    f"{tens}{gap}{word}": at + n
    for tens, at in (("twenty", 20), ("thirty", 30))
    for gap in (" ", "-")
    for n, word in enumerate(_ONES[:9], 1)
}
_CARDINALS |= {"thirty": 30, "a": 1, "an": 1, "a couple of": 2, "a couple": 2, "couple of": 2}
_ORDINALS = {word: n for n, word in enumerate(_FIRST + _LATER, 1)} | {
    f"{tens}{gap}{word}": at + n
    for tens, at, top in (("twenty", 20, 9), ("thirty", 30, 1))
    for gap in (" ", "-")
    for n, word in enumerate(_FIRST[:top], 1)
}
_ORDINALS["thirtieth"] = 30


_Rule = Callable[[re.Match[str], date], date | None]


def _any(words: Iterable[str]) -> str:
    return "|".join(re.escape(word) for word in sorted(words, key=lambda w: (-len(w), w)))


_LEAD = r"(?:(?:by|on|before|until|till|due)\s+)?"
_DAY = rf"(?P<day>{_any(_ORDINALS)}|\d{{1,2}}(?:st|nd|rd|th))"
_LOOSE_DAY = rf"(?P<day>{_any(_ORDINALS)}|\d{{1,2}}(?:st|nd|rd|th)?)"
_MONTH = rf"(?P<month>{_any(_MONTHS)})"
_YEAR = r"(?:,?\s+(?P<year>20\d\d))?"
_COUNT = rf"(?P<count>\d{{1,3}}|{_any(_CARDINALS)})"
_UNIT = r"(?P<unit>day|week|month)s?"
# After a bare "the second" a noun may follow ("the second page"): then it is no day of a month.
_CLOSED = (
    r"(?=\s*(?:$|[.,;:!?)]|\s(?:and|or|so|but|please|at|if|for|then|i|we|you|they|he|she|okay|ok|because|"
    r"with|to|um|uh|right|yeah|when|in)\b))"
)


def _shift(base: date, months: int, day: int | None = None) -> date:
    years, month = divmod(base.month - 1 + months, 12)
    year = base.year + years
    return date(year, month + 1, min(day or base.day, monthrange(year, month + 1)[1]))


def _day_number(word: str) -> int:
    return _ORDINALS.get(" ".join(word.split())) or int(re.sub(r"\D", "", word) or 0)


def _plain(days: int) -> _Rule:
    return lambda _, base: base + timedelta(days=days)


def _weekday(found: re.Match[str], base: date) -> date | None:
    wanted = _WEEKDAYS.index(found["weekday"])
    if found["which"] == "next":
        return base + timedelta(days=7 - base.weekday() + wanted)
    return base + timedelta(days=(wanted - base.weekday()) % 7)


def _end_of(found: re.Match[str], base: date) -> date | None:
    unit, ahead = found["unit"], 1 if found["next"] else 0
    if unit == "day":
        return base + timedelta(days=ahead)
    if unit == "week":
        days = 4 - base.weekday() + 7 * ahead
        return base + timedelta(days=days if days >= 0 else days + 7)
    if unit == "month":
        return _shift(base, ahead, 31)
    if unit == "quarter":
        return _shift(base, (3 - base.month % 3) % 3 + 3 * ahead, 31)
    return date(base.year + ahead, 12, 31)


def _next(found: re.Match[str], base: date) -> date | None:
    if found["unit"] == "week":
        return base + timedelta(days=7)
    return _shift(base, {"month": 1, "quarter": 3, "year": 12}[found["unit"]])


def _after(found: re.Match[str], base: date) -> date | None:
    said = " ".join(found["count"].split())
    count = _CARDINALS.get(said) or int(said)
    if found["unit"] == "month":
        return _shift(base, count)
    return base + timedelta(days=count * (7 if found["unit"] == "week" else 1))


def _calendar(found: re.Match[str], base: date) -> date | None:
    month, day = _MONTHS.index(found["month"]) + 1, _day_number(found["day"])
    if found["year"]:
        return date(int(found["year"]), month, day)
    for year in range(base.year, base.year + 9):
        if 1 <= day <= monthrange(year, month)[1] and date(year, month, day) >= base:
            return date(year, month, day)
    return None


def _day_of_month(found: re.Match[str], base: date) -> date | None:
    day = _day_number(found["day"])
    for months in range(13):
        there = _shift(base, months, 1)
        if 1 <= day <= monthrange(there.year, there.month)[1] and there.replace(day=day) >= base:
            return there.replace(day=day)
    return None


def _iso(found: re.Match[str], _: date) -> date | None:
    return date.fromisoformat(found["iso"])


# "we may second that", "they march first": a month after a subject is a verb. No weekday is due when it is past
# ("last friday") or recurs ("every friday", "a friday").
_NO_SUBJECT = "".join(rf"(?<!\b{word} )" for word in ("i", "we", "you", "they", "he", "she", "it", "that", "who"))
_NOT_PAST = "".join(rf"(?<!\b{word} )" for word in ("last", "every", "each", "past", "previous", "a"))
_RULES: tuple[tuple[re.Pattern[str], _Rule], ...] = tuple(
    (re.compile(rf"\b{pattern}"), rule)
    for pattern, rule in (
        (rf"{_LEAD}(?:the )?day after tomorrow\b", _plain(2)),
        (rf"{_LEAD}tomorrow(?!['’]s)\b(?:\s+(?:morning|afternoon|evening|night))?", _plain(1)),
        (rf"{_LEAD}(?:today(?!['’]s)|tonight|this (?:afternoon|evening))\b", _plain(0)),
        (rf"{_LEAD}{_NOT_PAST}(?:(?P<which>next|this)\s+)?(?P<weekday>{_any(_WEEKDAYS)})\b(?!['’]s)", _weekday),
        (
            rf"{_LEAD}(?:at )?(?:the )?end of (?:(?:the|this) |(?P<next>next ))?"
            r"(?P<unit>day|week|month|quarter|year)\b",
            _end_of,
        ),
        (rf"{_LEAD}next (?P<unit>week|month|quarter|year)\b(?!['’]s)", _next),
        (rf"(?:in|within)\s+(?:the next\s+)?{_COUNT}\s+{_UNIT}\b(?!['’])", _after),
        (rf"{_COUNT}\s+{_UNIT}\s+from\s+(?:now|today)\b", _after),
        (rf"{_LEAD}(?P<iso>\d{{4}}-\d{{2}}-\d{{2}})\b", _iso),
        (rf"{_LEAD}{_NO_SUBJECT}{_MONTH}\s+(?:the\s+)?{_LOOSE_DAY}\b(?![-:%.]\d){_YEAR}", _calendar),
        (rf"{_LEAD}(?:the\s+)?{_LOOSE_DAY}\s+(?:of\s+)?{_NO_SUBJECT}{_MONTH}\b{_YEAR}", _calendar),
        (rf"(?:by|on|before|until|till|due)\s+the\s+{_DAY}\b{_CLOSED}", _day_of_month),
        (
            rf"the\s+(?P<day>{_any(w for w, n in _ORDINALS.items() if n > 12)}|\d{{1,2}}(?:st|nd|rd|th))\b{_CLOSED}",
            _day_of_month,
        ),
    )
)


def parse_due(words: str, base: date) -> Due | None:
    """The first due date that `words` name, counted from the day `base`; None when they name none. Never raises.

    - "friday", "by friday", "this friday": the next one on or after `base`;
      "next friday": the one in the following calendar week (weeks begin on Monday).
    - "end of the week": its Friday, on a weekend the Friday to come; "end of the day": `base`.
    - "next week", "next month": seven days, one calendar month on (a short month's last day at most).
    - A month and a day, or a day alone ("by the fifteenth"), without a year: the next one on or after `base`.
    - "may", "march" and "second" count only as a month with a day, or a day with a month or "by the".
    """
    # Lower-cased letter by letter, so that places in `low` are places in `words`.
    low = "".join(c.lower() if len(c.lower()) == 1 else c for c in words)
    best: tuple[int, int, date] | None = None
    for pattern, rule in _RULES:
        for found in pattern.finditer(low):
            if best is not None and found.start() > best[0]:
                break
            day = _applied(rule, found, base)
            if day is None:
                continue
            if best is None or (found.start(), -found.end()) < best[:2]:
                best = (found.start(), -found.end(), day)
            break
    return Due(best[2], words[best[0] : -best[1]].strip()) if best else None


def _applied(rule: _Rule, found: re.Match[str], base: date) -> date | None:
    try:
        return rule(found, base)
    except (ValueError, OverflowError):
        return None
