"""How a stage ends that is to have no outcome."""

from __future__ import annotations


class Interrupted(BaseException):
    """The store failed under a stage's progress or checkpoint, or the work is another's: no outcome of the stage's."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error
