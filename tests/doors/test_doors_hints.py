"""A socket hears hints of all its tenant's sessions, from before it has joined one of them: they are no places."""

from __future__ import annotations

from typing import Any

import pytest
from mina_adapters.web.settings import WebSettings
from socket_hosts import HOSTS, SPEECH, Listener, until

from mina_pipeline import Pipeline, Segment, Settings


@pytest.mark.parametrize("kind", HOSTS)
@pytest.mark.parametrize("namespace", ["/", "/live"])
def test_a_hint_before_the_join_hides_nothing(kind: str, namespace: str) -> None:
    """A page that comes back hears of the reveal before it joins again, with the last version that it has heard: the
    hint has none, so that it still hears everything in between."""
    said: list[dict[str, Any]] = SPEECH
    with (
        Pipeline.open("memory://", settings=Settings(poll=0.05)) as p,
        HOSTS[kind](p, WebSettings()) as host,
        Listener(host.url, namespaces=[namespace]) as page,
    ):
        p.start_session(session_id="m1", tenant="acme")
        p.record("m1", [Segment(**one) for one in said])
        p.finalize("m1")
        p.run_until_idle()
        until(lambda: page.names(namespace) == ["dashboard_refresh"])
        assert page.versions("m1", namespace) == []
        page.ask("join_session", namespace, session_id="m1", after=max(page.versions("m1", namespace), default=1))
        last = p.get("m1").version
        until(lambda: last in page.versions("m1", namespace))
        assert page.versions("m1", namespace) == list(range(2, last + 1))
