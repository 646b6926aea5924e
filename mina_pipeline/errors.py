"""Every error the library raises on purpose: one root, and fields instead of prose to parse."""

from __future__ import annotations

SECOND_DOOR = (
    "this thread has a host's transaction open that the pipeline is part of, and a second writer beside it would"
    " wait for it: use the same p.using(connection), or commit first"
)


class MinaError(Exception):
    """The root. `except MinaError` catches whatever the library refuses; the fields say what and where."""


class IllegalTransition(MinaError):
    """The session's state forbids this command. Nothing was written."""

    def __init__(self, session_id: str, state: str, command: str, why: str = "") -> None:
        super().__init__(f"session {session_id} is {state}: {command} is not possible{why and f' ({why})'}")
        self.session_id = session_id
        self.state = state
        self.command = command


class SessionNotFound(MinaError):
    """No session of that id is in this store."""

    def __init__(self, session_id: str | int) -> None:
        super().__init__(f"no session {session_id!r}; `mina sessions list` shows those there are")
        self.session_id = session_id


class ConcurrencyError(MinaError):
    """The caller named the version it expected, and the session is at another one. Nothing was written."""

    def __init__(self, session_id: str, expected: int, actual: int) -> None:
        super().__init__(f"session {session_id}: version {expected} was expected, it is at {actual}")
        self.session_id = session_id
        self.expected = expected
        self.actual = actual


class CommandIdReused(MinaError):
    """This command id was used in this session before, with other content."""

    def __init__(self, session_id: str, command_id: str) -> None:
        super().__init__(
            f"session {session_id}: command id {command_id!r} was already used for something else; "
            "send a new command with a new id"
        )
        self.session_id = session_id
        self.command_id = command_id


class SegmentIdReused(MinaError):
    """This segment id is recorded already, with other content."""

    def __init__(self, session_id: str, segment_id: str) -> None:
        super().__init__(
            f"session {session_id}: segment {segment_id!r} is recorded with other content; "
            "a segment is recorded once, a correction needs a new id"
        )
        self.session_id = session_id
        self.segment_id = segment_id


class TaskNotFound(MinaError):
    """The session has no task of that id, or none any more: a later run of its stage may have left it out."""

    def __init__(self, session_id: str, task_id: str) -> None:
        super().__init__(f"session {session_id} has no task {task_id!r}")
        self.session_id = session_id
        self.task_id = task_id


class SessionBusy(MinaError):
    """Other writers won every one of our attempts. Nothing was written; the command may be sent again."""

    def __init__(self, session_id: str, attempts: int) -> None:
        super().__init__(f"session {session_id}: {attempts} attempts met other writers; send it again")
        self.session_id = session_id
        self.attempts = attempts


class RetryTransaction(MinaError):
    """The database gave up this transaction (serialization, deadlock, lock): roll it back and run it again."""


class ProviderUnavailable(MinaError):
    """A provider cannot answer now; raised by providers and stages. The stage's policy says what becomes of the run.

    reason: a word or two, kept for ever (outage | rate limit | timeout); retry_after: seconds, where it said so.
    """

    def __init__(self, provider: str, reason: str = "outage", retry_after: float | None = None) -> None:
        super().__init__(f"{provider} is not available: {reason}")
        self.provider = provider
        self.reason = reason
        self.retry_after = retry_after


class LeaseLost(MinaError):
    """Another worker holds this work now. Nothing was written."""

    def __init__(self, session_id: str, stage: str, run: int) -> None:
        super().__init__(f"session {session_id}: the lease on {stage} run {run} is another worker's now")
        self.session_id = session_id
        self.stage = stage
        self.run = run


class UpgradeNeeded(MinaError):
    """The log holds something this process does not know: a definition, an event type or a newer version."""

    def __init__(self, what: str, name: str, known: str) -> None:
        super().__init__(f"unknown {what} {name!r} (this process knows {known}); run a release that knows it")
        self.what = what
        self.name = name
        self.known = known


class InvalidInput(MinaError, ValueError):
    """An argument is malformed. Says which, what is wrong with it and what would be right."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


class DefinitionError(MinaError, ValueError):
    """A definition or a stage is put together wrongly; raised where it is declared."""


class TranscriptError(MinaError, ValueError):
    """A transcript file cannot be read. `line` counts from 1; None where no line is to blame."""

    def __init__(self, source: str, line: int | None, problem: str, remedy: str) -> None:
        where = source if line is None else f"{source}:{line}"
        super().__init__(f"{where}: {problem}. {remedy}")
        self.source = source
        self.line = line
        self.problem = problem
        self.remedy = remedy


class StoreUnreachable(MinaError):
    """The database does not answer. `url` carries no password."""

    def __init__(self, url: str, problem: str) -> None:
        super().__init__(f"cannot reach {url}: {problem}")
        self.url = url


class StoreBusy(MinaError):
    """No connection, or no lock, became free in time. Nothing was written; send it again."""

    def __init__(self, what: str, waited: float) -> None:
        super().__init__(f"{what} did not become free within {waited:g} s; send it again")
        self.what = what
        self.waited = waited


class SchemaOutdated(MinaError):
    """The tables are of an older release, and this pipeline was told not to bring them up to date."""

    def __init__(self, url: str, found: str, wanted: str) -> None:
        super().__init__(f"{url}: its schema is version {found}, this release needs {wanted}; run `mina db upgrade`")
        self.url = url
        self.found = found
        self.wanted = wanted


class ForeignSchema(MinaError):
    """The database has tables of our names that are not ours, or of a schema this release cannot use."""

    def __init__(self, url: str, problem: str) -> None:
        super().__init__(f"{url}: {problem}")
        self.url = url


class MissingExtra(MinaError, ImportError):
    """A package of an optional extra is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs an extra: pip install 'mina-pipeline[{extra}]'")
        self.extra = extra
