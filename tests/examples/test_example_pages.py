"""The pages in a real browser, where there is one: start, paste, stop, watch to the reveal, tick a task off."""

from __future__ import annotations

import json
import re

import pytest
from example_apps import SAID, App, until
from example_browser import Page

TRANSPORTS = {"flask-sqlite": "socketio", "fastapi-sqlite": "ws", "fastapi-postgresql": "sse"}


def test_the_way_in_a_browser(app: App, page: Page, request: pytest.FixtureRequest) -> None:
    """A title and words that are HTML stay words; the reveal leads to the result; a tick is kept."""
    transport = TRANSPORTS[request.node.callspec.id]
    page.open(app.url)
    page.until("document.getElementById('line')?.textContent === 'live'")
    page.run("document.getElementById('title').value = '<b>Weekly</b>'")
    page.run("document.querySelector('button[value=socket]').click()")
    page.until("document.getElementById('recording')?.hidden === false && location.pathname !== '/new'")
    page.run(
        f"document.getElementById('transport').value = '{transport}';"
        "document.getElementById('transport').dispatchEvent(new Event('change'))"
    )
    page.run(f"document.getElementById('transcript').value = {json.dumps(SAID)}")
    page.run("document.getElementById('record').click()")
    page.until("document.querySelector('[data-event=segments_recorded]') !== null")
    page.run("document.getElementById('end_session').click()")
    page.until("/result$/.test(location.pathname) && document.querySelector('#tasks input') !== null")
    assert page.run("document.getElementById('title').textContent") == "<b>Weekly</b>"
    page.run("document.querySelector('#tasks input').click()")
    session_id = re.split("/", page.run("location.pathname"))[2]

    def ticked() -> bool:
        tasks = app.http.get(f"/api/sessions/{session_id}/tasks").json()["tasks"]
        return bool(tasks["tasks"][0]["completed"])

    until(ticked)
    assert page.run("document.getElementById('problem').textContent") == ""
    assert page.problems == []
