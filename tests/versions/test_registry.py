"""Upcasters, and the registry of what this release reads."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec
import pytest
from later import stored

from mina_pipeline.codec import UPCASTERS, Registry, RegistryError, decode
from mina_pipeline.events import SESSION_EVENTS, STAGE_EVENTS, Event, Kept, StageEvent


class Parked(Event, frozen=True, kw_only=True):
    """A third version: `where` was `place`, and then got a floor."""

    kind: ClassVar[str] = "session_parked"
    schema_version: ClassVar[int] = 3
    where: Kept[str]
    floor: Kept[int]
    note: str | None = None


class Weighed(StageEvent, frozen=True, kw_only=True):
    """A second version of a stage's event: `grams` was `kilos`."""

    kind: ClassVar[str] = "stage_weighed"
    schema_version: ClassVar[int] = 2
    grams: Kept[int]


def renamed(fields: dict[str, Any]) -> dict[str, Any]:
    fields["where"] = fields.pop("place")
    if "memo" in fields:
        fields["note"] = fields.pop("memo")
    return fields


def floored(fields: dict[str, Any]) -> dict[str, Any]:
    return {**fields, "floor": 0}


def grams(fields: dict[str, Any]) -> dict[str, Any]:
    return {"stage": fields["stage"], "run": fields["run"], "grams": fields["kilos"] * 1000}


STEPS = {("session_parked", 1): renamed, ("session_parked", 2): floored, ("stage_weighed", 1): grams}
LATER = Registry([*SESSION_EVENTS, Parked], [*STAGE_EVENTS, Weighed], STEPS)


@pytest.mark.parametrize(
    ("version", "data", "content", "wanted"),
    [
        (1, '{"place":"attic"}', '{"memo":"dusty"}', Parked(where="attic", floor=0, note="dusty")),
        (2, '{"where":"attic"}', '{"note":"dusty"}', Parked(where="attic", floor=0, note="dusty")),
        (3, '{"where":"attic","floor":4}', '{"note":"dusty"}', Parked(where="attic", floor=4, note="dusty")),
        (1, '{"place":"attic"}', None, Parked(where="attic", floor=0)),
    ],
)
def test_upcasters_lead_step_by_step_to_today(version: int, data: str, content: str | None, wanted: Event) -> None:
    """Each older version becomes today's event by every step between them, with its content erased too."""
    old = stored("session_parked", version, data, content)
    assert decode(old, LATER) == wanted
    assert old.data == {**msgspec.json.decode(data), **msgspec.json.decode(content or "{}")}


def test_a_hosts_stage_events_are_upcast_by_their_kind() -> None:
    """The steps of a stage's event hold for every stage, also a host's own."""
    old = stored("loading_weighed", 1, '{"stage":"loading","run":2,"kilos":3}')
    assert decode(old, LATER) == Weighed(stage="loading", run=2, grams=3000)


@pytest.mark.parametrize("lost", sorted(STEPS))
def test_a_missing_step_is_found_when_the_registry_is_built(lost: tuple[str, int]) -> None:
    """A registry that could not read every older version is refused before any event is read."""
    with pytest.raises(RegistryError, match=f"missing.*{lost[0]}.*{lost[1]}"):
        Registry([Parked], [Weighed], {step: to for step, to in STEPS.items() if step != lost})


@pytest.mark.parametrize("idle", [("session_parked", 3), ("session_parked", 0), ("session_lost", 1)])
def test_an_upcaster_that_leads_nowhere_is_refused(idle: tuple[str, int]) -> None:
    """An upcaster of an unknown kind, or from a version that is not older, is a slip and told."""
    with pytest.raises(RegistryError, match=f"no class's.*{idle[0]}"):
        Registry([Parked], [Weighed], {**STEPS, idle: floored})


def test_kinds_are_unmistakable() -> None:
    """Two classes of one kind, and a session's event that older releases would take for a stage's, are refused."""

    class Twin(Parked, frozen=True, kw_only=True):
        pass

    class Failed(Event, frozen=True, kw_only=True):
        kind: ClassVar[str] = "payment_failed"

    with pytest.raises(RegistryError, match="one kind"):
        Registry([Parked, Twin], [Weighed], STEPS)
    with pytest.raises(RegistryError, match="payment_failed"):
        Registry([Failed], STAGE_EVENTS, {})


def test_every_step_of_this_release_is_there() -> None:
    """This release's registry builds, and reads the version that each of its classes writes."""
    assert UPCASTERS.keys() == {
        (c.kind, n) for c in (*SESSION_EVENTS, *STAGE_EVENTS) for n in range(1, c.schema_version)
    }
