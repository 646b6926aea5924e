"""Faults that histories leave out until the library stands them; each with what breaks."""

KNOWN: tuple[str, ...] = ()
