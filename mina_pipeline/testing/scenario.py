"""Given / when / then for the machine: events that were, a command, the events or the refusal that follow."""

from __future__ import annotations

from dataclasses import dataclass

from .. import commands as ask
from .. import events as did
from ..decisions import decide
from ..definition import STANDARD, Definition
from ..errors import MinaError
from ..states import INITIAL, State, evolve, replay

SESSION_ID = "a-session"


@dataclass(frozen=True)
class Scenario:
    """A state, and what was decided last. Immutable: each call returns the next one."""

    state: State = INITIAL
    decided: tuple[did.Event, ...] = ()
    refused: MinaError | None = None

    def when(self, *commands: ask.Command) -> Scenario:
        """Decide each command on the state, and evolve with what it yields; stops at a refusal."""
        now = self
        for command in commands:
            try:
                events = decide(now.state, command, SESSION_ID)
            except MinaError as error:
                return Scenario(now.state, (), error)
            now = Scenario(replay(events, now.state), tuple(events))
        return now

    def then(self, *types: str) -> Scenario:
        """The last command yielded events of exactly these types."""
        assert self.refused is None, f"refused: {self.refused}"
        found = tuple(event.type for event in self.decided)
        assert found == types, f"decided {found}, not {types}"
        return self

    def then_refused(self, error: type[MinaError]) -> Scenario:
        """The last command was refused with this error."""
        assert isinstance(self.refused, error), f"not refused with {error.__name__}: {self.refused!r}"
        return self

    def then_state(self, public: str) -> Scenario:
        """Clients now see this state."""
        assert self.state.public == public, f"state is {self.state.public}, not {public}"
        return self


def given(*events: did.Event) -> Scenario:
    """A session to which these events have happened."""
    state = INITIAL
    for event in events:
        state = evolve(state, event)
    return Scenario(state)


def start(definition: Definition = STANDARD) -> ask.Start:
    """The command that begins a session of a definition."""
    return ask.Start(
        id=1,
        definition=definition.name,
        definition_version=definition.version,
        stages=definition.stages,
        started_at=0,
    )


def conclude(stage: str, outcome: str = "ok", run: int = 1) -> ask.Conclude:
    """A worker's outcome of a run."""
    return ask.Conclude(stage=stage, run=run, outcome=outcome, input_version=0, duration_ms=1, completed_at=0)
