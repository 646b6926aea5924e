"""A real browser, where there is one, driven over its DevTools protocol."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import httpx
from example_apps import PATIENCE, until
from websockets.sync.client import ClientConnection, connect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
         "--disable-dev-shm-usage", "--no-first-run", "--remote-debugging-port=0"]  # fmt: skip


class Page:
    """A browser's one page, over its DevTools protocol."""

    def __init__(self, line: ClientConnection) -> None:
        self.line = line
        self.numbers = count(1)
        self.problems: list[str] = []
        self.call("Runtime.enable")
        self.call("Log.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self.numbers)
        self.line.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            told = json.loads(self.line.recv(timeout=PATIENCE))
            if told.get("id") == number:
                return dict(told.get("result", {}))
            if told.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.problems.append(json.dumps(told["params"]))

    def run(self, script: str) -> Any:
        """The value of an expression; None also while the page is changing."""
        return self.call("Runtime.evaluate", expression=script).get("result", {}).get("value")

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)

    def until(self, script: str) -> None:
        until(lambda: self.run(script) is True)


@contextmanager
def browser(folder: Path) -> Iterator[Page]:
    assert CHROMIUM is not None
    where = [f"--user-data-dir={folder}", "about:blank"]
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([CHROMIUM, *QUIET, *where], **quiet) as process:  # type: ignore[call-overload]
        try:
            said = folder / "DevToolsActivePort"
            until(lambda: said.exists() and said.read_text().count("\n"))
            port = said.read_text().split()[0]
            pages = httpx.get(f"http://127.0.0.1:{port}/json").json()
            target = next(page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page")
            with connect(target, max_size=None) as line:
                yield Page(line)
        finally:
            process.kill()
