"""Bugs, each a small function that breaks the library in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from mina_pipeline import decisions, events, machine, policies, projections, sessions, states
from mina_pipeline.ports import Append
from mina_pipeline.store.memory import MemoryStore

Patch = pytest.MonkeyPatch
PLANTED: list[Callable[[Patch], None]] = []


def planted(plant: Callable[[Patch], None]) -> Callable[[Patch], None]:
    PLANTED.append(plant)
    return plant


@planted
def drop_the_token_check(patch: Patch) -> None:
    """An outcome is appended whoever holds the row."""
    append = MemoryStore.append
    patch.setattr(MemoryStore, "append", lambda self, one: append(self, replace(one, guard=None)))


@planted
def renew_a_dead_lease(patch: Patch) -> None:
    """A renewal takes a row back that lapsed and was claimed by another since."""
    claim, renew = MemoryStore.claim, MemoryStore.renew
    had: dict[str, tuple[str, str, str]] = {}

    def claimed(self: MemoryStore, now: int, owner: str, token: str, *rest: Any) -> Any:
        found = claim(self, now, owner, token, *rest)
        if found is not None:
            had[token] = (found.session_id, found.kind, found.stage)
        return found

    def renewed(self: MemoryStore, now: int, tokens: Sequence[str], lease: int) -> list[str]:
        for token in tokens:
            row = self.tables.by_key["work"].get(had.get(token, ("", "", "")))
            if row is not None and row["token"] is not None:
                row["token"] = token
        return renew(self, now, tokens, lease)

    patch.setattr(MemoryStore, "claim", claimed)
    patch.setattr(MemoryStore, "renew", renewed)


@planted
def reveal_twice(patch: Patch) -> None:
    """A later run's outcome reveals the session again."""
    conclude = decisions.conclude

    def again(state: states.State, command: Any, session_id: str) -> list[events.Event]:
        found = conclude(state, command, session_id)
        return found if state.status != "revealed" else [found[0], events.Revealed(outcomes={}), *found[1:]]

    patch.setattr(decisions, "conclude", again)
    patch.setitem(machine.SESSION_FOLD, ("revealed", "post_transcription_reveal"), "revealed")  # type: ignore[arg-type]


@planted
def skip_a_wait(patch: Patch) -> None:
    """A run that is told to wait is due again at once."""
    open_work = projections.open_work

    def hasty(state: states.State) -> dict[tuple[str, str], projections.Work]:
        return {key: replace(work, retry_at=work.retry_at and 1) for key, work in open_work(state).items()}

    patch.setattr(projections, "open_work", hasty)


@planted
def give_up_instead_of_waiting(patch: Patch) -> None:
    """A run whose provider is away has failed, whatever its policy."""
    patch.setattr(policies, "away", lambda *_: policies.Fail())


@planted
def forget_a_timer(patch: Patch) -> None:
    """Nobody looks after a recording that is left alone."""
    open_work = projections.open_work
    patch.setattr(projections, "open_work", lambda state: {} if state.status == "recording" else open_work(state))


@planted
def append_again_without_deciding_again(patch: Patch) -> None:
    """After a conflict an outcome that was decided on the older state is appended to the newer."""
    attempt = sessions.Sessions.attempt

    def stubborn(self: Any, seen: Any, session_id: str, command: Any, *rest: Any) -> Any:
        done = attempt(self, seen, session_id, command, *rest)
        if done is not None or seen is None or command.name != "conclude":
            return done
        now, decided = sessions.load(self.store, session_id), decisions.decide(seen.state, command, session_id)
        append, after = self.compose(session_id, now, decided, None, None, None, rest[3])
        return sessions.Loaded({**now.row, **append.session}, after) if self.store.append(append) else None

    patch.setattr(sessions.Sessions, "attempt", stubborn)


@planted
def append_on_any_version(patch: Patch) -> None:
    """The store does not look at the version that was expected."""
    append = MemoryStore.append

    def anyhow(self: MemoryStore, one: Append) -> bool:
        row = self.load(one.session_id)
        return append(self, replace(one, expected=row["version"] if row else 0))

    patch.setattr(MemoryStore, "append", anyhow)


@planted
def claim_what_is_held(patch: Patch) -> None:
    """A lease keeps nobody away."""
    patch.setattr("mina_pipeline.store.memory_work.due", lambda row: int(row["due_at"]))
