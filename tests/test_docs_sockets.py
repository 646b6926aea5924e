"""docs/sockets.md says what the code does: namespaces, events, the sockets' own refusals."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from mina_adapters.flask import MinaFlask
from mina_adapters.sockets import doors, rooms
from mina_adapters.sockets.doors import SocketDoors
from mina_adapters.sockets.flask import ThreadedOutlet
from mina_adapters.web.errors import OWN
from mina_adapters.web.settings import WebSettings

from mina_pipeline import Pipeline

PAGE = (Path(__file__).parent.parent / "docs" / "sockets.md").read_text()


def rows(head: str) -> list[list[str]]:
    """The cells of the table that begins so."""
    lines = PAGE.split(f"\n{head}")[1].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.fixture
def sockets() -> Iterator[SocketDoors]:
    from flask_socketio import SocketIO

    with Pipeline.open("memory://") as pipeline:
        mina = MinaFlask(pipeline, principal=lambda: None, authorize=lambda *asked: False)
        yield SocketDoors(mina.doors, ThreadedOutlet(SocketIO()))


def test_the_namespaces_are_the_settings() -> None:
    """Each with its default, in the order of the code."""
    names = ("page_namespace", "live_namespace", "recorder_namespace")
    listed = [row[:2] for row in rows("| namespace | setting |")]
    assert listed == [[f"`{getattr(WebSettings(), name)}`", f"`{name}`"] for name in names]


def test_every_event_is_listed(sockets: SocketDoors) -> None:
    """With its namespace, in the order of the code."""
    found = [row[:2] for row in rows("| namespace | event |")]
    assert found == [[f"`{space}`", f"`{event}`"] for space, events in sockets.events.items() for event in events]


def test_the_sockets_own_refusals_are_named() -> None:
    """Those that are in no table of the doors, and the limits by the names that are."""
    raised = set(re.findall(r'WebError\(\d+, "[^"]+", "(\w+)"', Path(doors.__file__).read_text()))
    own = raised | {rooms.TOO_SLOW["error_type"]}
    assert set(re.findall(r"`(\w+)` and `(\w+)` are the sockets' own", PAGE)[0]) == own
    limits = {row[2].strip("`") for row in rows("| over |")}
    assert limits - own <= set(OWN)


def test_the_numbers_are_the_codes() -> None:
    """Bounds that no setting names."""
    assert f"{ThreadedOutlet.bound:,} packets" in PAGE
    assert f"({doors.DEVICE:,} bytes of JSON)" in PAGE
    assert f"every {rooms.TOUCH:.0f} seconds" in PAGE
