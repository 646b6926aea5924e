"""How many tokens a text has, without the model's own tokenizer: likely, and at most."""

from __future__ import annotations


def estimate(text: str) -> int:
    """Likely tokens, rather too many than too few: 3.5 ASCII characters each, two bytes of any other script."""
    size = len(text.encode("utf-8", "surrogatepass"))
    other = size - len(text) if size > len(text) else 0
    wide = 0 if not other else sum(1 for char in text if char > "\x7f")
    return round((len(text) - wide) / 3.5 + (other + wide) / 2) + 1


def at_most(text: str) -> int:
    """No tokenizer makes more: each token stands for a byte or more."""
    return len(text.encode("utf-8", "surrogatepass"))
