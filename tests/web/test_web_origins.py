"""A browser's page of another origin is let in only where the host lists it."""

from __future__ import annotations

import pytest
from asking import Host
from mina_adapters.web.errors import WebError
from mina_adapters.web.origins import parse_origin
from mina_adapters.web.rights import Rights
from mina_adapters.web.settings import WebSettings

from mina_pipeline import InvalidInput, Pipeline

LISTED = ("https://app.example", "http://localhost:5173", "capacitor://localhost", "https://[2001:db8::1]:8443")


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        (None, "mina.example"),
        (None, None),
        ("https://app.example", "mina.example"),
        ("HTTPS://APP.EXAMPLE", "mina.example"),
        ("https://app.example:443", "mina.example"),
        ("http://localhost:5173", None),
        ("capacitor://localhost", None),
        ("https://[2001:DB8::1]:8443", None),
        ("https://mina.example", "mina.example"),
        ("https://mina.example", "Mina.Example:443"),
        ("http://mina.example", "mina.example:80"),
        ("http://mina.example:8000", "mina.example:8000"),
        ("http://127.0.0.1:5000", "127.0.0.1:5000"),
        ("http://[::1]:5000", "[::1]:5000"),
    ],
)
def test_let_in(origin: str | None, host: str | None, memory: Pipeline) -> None:
    """Listed ones, the request's own host, and what is no browser."""
    Rights(memory, Host().authorize, WebSettings(origins=LISTED)).check_origin(origin, host)


TRICKS = [
    "null", "Null", "", " ", "*", "https://", "https:///", "//app.example", "app.example", "file://",
    "http://app.example", "https://app.example:8443", "https://app.example:0443", "https://app.example:",
    "https://app.example:443:443", "https://app.example:99999", "https://app.example:-1", "https://app.example/",
    "https://app.example/path", "https://app.example?x", "https://app.example#x", "https://app.example.",
    "https://app.example.evil.example", "https://evil-app.example", "https://evil.example/https://app.example",
    "https://app.example@evil.example", "https://user:pw@app.example", "https://app.example\\@evil.example",
    "https://app.example, https://evil.example", "https://app.example,https://app.example",
    "https://app.example https://app.example", " https://app.example", "https://app.example ", "https://app.example\n",
    "https://app.example\x00", "https://app。example", "https://app.exаmple", "https://xn--app.example",
    "https://sub.app.example", "https://example", "wss://app.example", "javascript://app.example", "https:app.example",
    "https://app.example%00", "https://[2001:db8::1]", "https://2001:db8::1:8443", "https://" + "a" * 5000,
    "http://mina.example:81", "https://mina.example.", "ftp://mina.example", "https://mina.example:8000",
]  # fmt: skip


@pytest.mark.parametrize("origin", TRICKS)
def test_tricks_are_refused(origin: str, memory: Pipeline) -> None:
    """403, in words that repeat nothing of it."""
    rights = Rights(memory, Host().authorize, WebSettings(origins=LISTED))
    with pytest.raises(WebError) as refused:
        rights.check_origin(origin, "mina.example")
    assert refused.value.status == 403
    assert refused.value.fields == {}


@pytest.mark.parametrize(
    "host",
    [None, "", "evil.example", "mina.example:80", "mina.example, evil.example", "mina.example ", "mina.example/",
     "x@mina.example", "mina.example:0443", "mina.example:", "ミナ.example", "mina.example\x00", "[mina.example]"],
)  # fmt: skip
def test_an_odd_host_is_nobodys_own(host: str | None, memory: Pipeline) -> None:
    """A Host header that is not exactly the origin's host and port lets no page in."""
    with pytest.raises(WebError):
        Rights(memory, Host().authorize, WebSettings()).check_origin("https://mina.example", host)


def test_the_own_host_can_be_shut_out(memory: Pipeline) -> None:
    """same_origin=False: only what is listed, so that a name that was bound to this machine's address gets nothing."""
    rights = Rights(memory, Host().authorize, WebSettings(origins=LISTED, same_origin=False))
    rights.check_origin("https://app.example", "rebound.example")
    with pytest.raises(WebError):
        rights.check_origin("https://rebound.example", "rebound.example")


@pytest.mark.parametrize("origins", ["https://app.example", ["*"], ["null"], ["https://app.example/"], ["app.example"]])
def test_wildcards_and_misspellings_are_refused_at_the_start(origins: object) -> None:
    """An origin that no browser would send is a mistake, not a rule."""
    with pytest.raises(InvalidInput):
        WebSettings(origins=origins)  # type: ignore[arg-type]


def test_spellings_of_one_origin_are_one() -> None:
    """Case and the scheme's own port make no difference."""
    assert parse_origin("HTTP://A.example") == parse_origin("http://a.example:80") == ("http", "a.example", 80)


@pytest.mark.parametrize(
    "wrong",
    [
        {"prefix": "meetings"}, {"prefix": "/meetings/"}, {"prefix": "//"}, {"prefix": "/<x>"}, {"prefix": "/a/../b"},
        {"live_namespace": "/"}, {"page_namespace": "live"}, {"max_body": 0}, {"rate": 0.0}, {"rate": float("nan")},
        {"burst": 0}, {"max_watches": -1}, {"keep_alive": -1.0},
    ],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    """By name, where they are made."""
    with pytest.raises(InvalidInput):
        WebSettings(**wrong)  # type: ignore[arg-type]
    assert WebSettings(prefix="/meetings", max_watches=0).prefix == "/meetings"
