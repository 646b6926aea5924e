"""docs/web.md says what the tables say: routes, refusals, settings."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from mina_adapters.web.answers import ANSWERERS
from mina_adapters.web.errors import ANSWERS, OWN
from mina_adapters.web.rights import ACTIONS
from mina_adapters.web.routes import BY_DOOR, ROUTES
from mina_adapters.web.settings import WebSettings

PAGE = (Path(__file__).parents[2] / "docs" / "web.md").read_text()


def rows(heading: str) -> list[list[str]]:
    """The cells of the table under a heading."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_every_route_is_listed() -> None:
    """In the order of the table, with its right and what it does."""
    assert rows("Routes") == [[route.method, f"`{route.template}`", route.action, route.does] for route in ROUTES]


def test_every_refusal_is_listed() -> None:
    """With its status, its fields, and whether it says when to come again."""
    listed = [
        [str(one.status), f"`{name}`", ", ".join(one.fields) or "–", "–" if one.retry is None else f"{one.retry} s"]
        for name, one in ANSWERS.items()
    ]
    found = rows("Refusals")
    assert [row[:4] for row in found][: len(listed)] == listed
    assert [row[:2] for row in found][len(listed) :] == [
        [str(status), f"`{name}`"] for name, (status, _) in OWN.items()
    ]


def test_every_setting_is_listed_with_its_default() -> None:
    """In the order of the code."""
    shown = {"": '`""`', None: "–", (): "none"}
    assert [row[:2] for row in rows("Settings")] == [
        [f"`{field.name}`", shown.get(field.default, f"`{field.default}`")] for field in fields(WebSettings)
    ]


def test_every_right_is_explained() -> None:
    """The actions that authorize is asked for."""
    assert [row[0] for row in rows("Rights")] == [f"`{action}`" for action in ACTIONS]


def test_every_route_leads_to_a_door() -> None:
    """And every door that answers at once has a route; no two routes are one."""
    assert {route.door for route in ROUTES if not route.stream} == set(ANSWERERS)
    assert len(BY_DOOR) == len(ROUTES) == len({(route.method, route.template) for route in ROUTES})
