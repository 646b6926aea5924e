"""The host apps, one process for each host and database: all tests that ask for one share it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from example_apps import App, running
from example_browser import CHROMIUM, Page, browser

HOSTS = [("flask", "sqlite"), ("fastapi", "sqlite"), ("fastapi", "postgresql")]


@pytest.fixture(scope="session", params=HOSTS, ids="-".join)
def app(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """It must end in order on SIGTERM, also while somebody watches."""
    name, store = request.param
    database = f"sqlite:///{tmp_path_factory.mktemp(name)}/meetings.db"
    if store == "postgresql":
        database = str(request.getfixturevalue("postgres_url"))
    with running(name, database) as app:
        yield app
        with app.watching(app.start("to the end")["session_id"]):
            assert app.end() == 0


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    if CHROMIUM is None:
        pytest.skip("no Chromium here")
    with browser(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def page(chromium: Page) -> Iterator[Page]:
    """The browser's one page, empty at the start and at the end."""
    chromium.open("about:blank")
    chromium.problems.clear()
    yield chromium
    chromium.open("about:blank")
