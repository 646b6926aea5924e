"""The root command, the options every verb shares, and how errors leave."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, NoReturn, TypeVar

import click
import msgspec

from ..errors import (
    DefinitionError,
    ForeignSchema,
    InvalidInput,
    MinaError,
    MissingExtra,
    SchemaOutdated,
    SessionNotFound,
    StoreBusy,
    StoreUnreachable,
    TranscriptError,
)
from ..pipeline import Pipeline

F = TypeVar("F", bound=Callable[..., Any])

USAGE = (InvalidInput, TranscriptError, SessionNotFound, DefinitionError)
UNREACHABLE = (StoreUnreachable, StoreBusy, SchemaOutdated, ForeignSchema, MissingExtra)
DEFAULT_DB = "sqlite:///mina.db"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mina-pipeline")
def mina() -> None:
    """Meetings from recording to revealed. Every verb takes --db and --json after its name."""


def shared(command: F) -> F:
    """Add --db, --app and --json, and turn our errors into exit codes."""

    @wraps(command)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        say_what_is_ignored()
        try:
            return command(*args, **kwargs)
        except MinaError as error:
            fail(error)
        except BrokenPipeError:
            # The reader has seen enough (`mina … | head`).
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(0)

    options = (
        click.option("--db", metavar="URL", envvar="MINA_DATABASE_URL", help=f"The store (default {DEFAULT_DB})."),
        click.option("--app", metavar="MODULE:NAME", help="Take the Pipeline from your app, with its stages."),
        click.option("--json", "as_json", is_flag=True, help="Only JSON on stdout, an object a line."),
    )
    for option in options:
        guarded = option(guarded)
    return guarded  # type: ignore[return-value]


def say_what_is_ignored() -> None:
    """Options beside --app that the app's own pipeline has been opened with."""
    context = click.get_current_context()
    for name in ("db", "provider") if context.params.get("app") else ():
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            click.echo(f"mina: --{name} is not looked at: the pipeline of --app has its own", err=True)


def fail(error: MinaError) -> NoReturn:
    click.echo(f"mina: {error}", err=True)
    sys.exit(2 if isinstance(error, USAGE) else 3 if isinstance(error, UNREACHABLE) else 1)


def open_pipeline(db: str | None, app: str | None, provider: str = "offline") -> Pipeline:
    """The pipeline that --app names, or one over --db."""
    if app is None:
        return Pipeline.open(db or DEFAULT_DB, provider=provider)
    module, _, name = app.partition(":")
    sys.path.insert(0, os.getcwd())
    try:
        found = getattr(importlib.import_module(module), name or "pipeline")
        found = found() if callable(found) and not isinstance(found, Pipeline) else found
    except MinaError:
        raise
    except Exception as error:  # the app's own, whatever it is
        raise InvalidInput("--app", f"{app}: {type(error).__name__}: {error}") from error
    if not isinstance(found, Pipeline):
        raise InvalidInput("--app", f"{app} is a {type(found).__name__}, not a Pipeline")
    return found


def print_json(value: Any) -> None:
    """One object, one line, on stdout."""
    click.echo(msgspec.json.encode(value))


from . import change, database, doctor, inspect, recover, run, sessions, tail, trials, work  # noqa: E402, F401  (their verbs)
