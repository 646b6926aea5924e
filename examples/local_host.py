"""What both host apps are beside the pipeline: open to this machine alone, with pages, an address and exit codes."""

from __future__ import annotations

import argparse
import re
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from mina_pipeline import MinaError, Pipeline

PAGES = Path(__file__).parent / "pages"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
}
FILES = {f"/pages/{file.name}": file for file in PAGES.iterdir() if file.suffix in (".js", ".css")}
HERE = re.compile(r"(127\.0\.0\.1|localhost)(:\d{1,5})?", re.IGNORECASE)
REVEALED = re.compile(r"/sessions/([^/]+)/refined")
MEETING = re.compile(r"/new|/meetings/[^/]+")
RESULT = re.compile(r"/meetings/[^/]+/result")


@dataclass(frozen=True)
class Somebody:
    """Whoever sits at this machine: no tenant, and every right."""

    id: str = "local"
    tenant: str | None = None


def local() -> Somebody:
    return Somebody()


@dataclass(frozen=True)
class Page:
    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


def page(method: str, path: str, host: str, accept: str, about: str) -> Page | None:
    """What this machine's pages answer; None where it is the app's to answer. about: the host as JSON.

    A request by another name than this machine's own is refused, whatever it asks for: a foreign site whose name was
    made to lead here would else be of the same origin as these pages.
    """
    if not HERE.fullmatch(host):
        return Page(400, b"this app answers to 127.0.0.1 and localhost only\n", {"Content-Type": "text/plain"})
    reads = method in ("GET", "HEAD")
    revealed = REVEALED.fullmatch(path)
    if revealed and reads and "text/html" in accept:  # the wire's redirect_url: for people a page, for its script JSON
        return Page(302, headers={"Location": f"/meetings/{quote(revealed[1], safe='')}/result", "Vary": "Accept"})
    file = file_of(path)
    if file is None and path != "/host.json":
        return None
    if not reads:
        return Page(405, b"pages can only be read\n", {"Content-Type": "text/plain", "Allow": "GET, HEAD"})
    return shown(file, host) if file else Page(200, about.encode(), {"Content-Type": "application/json"})


def file_of(path: str) -> Path | None:
    if path == "/":
        return PAGES / "start.html"
    if MEETING.fullmatch(path):
        return PAGES / "meeting.html"
    return PAGES / "result.html" if RESULT.fullmatch(path) else FILES.get(path)


def shown(file: Path, host: str) -> Page:
    """A file of the pages: no script but our own, no other site, nothing kept."""
    policy = f"default-src 'self'; connect-src 'self' ws://{host}; img-src data:; base-uri 'none'; form-action 'none'"
    headers = {
        "Content-Type": TYPES[file.suffix],
        "Content-Security-Policy": f"{policy}; object-src 'none'; frame-ancestors 'none'",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
    }
    return Page(200, file.read_bytes(), headers)


def arguments(doc: str | None, port: int) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--port", type=int, default=port, help=f"on 127.0.0.1 (default {port}; 0: any that is free)")
    parser.add_argument("--db", metavar="URL", default="sqlite:///meetings.db", help="default %(default)s")
    return parser.parse_args()


def bound(port: int) -> socket.socket:
    """A socket on 127.0.0.1; ends the process with 2 where the port is taken."""
    try:
        return socket.create_server(("127.0.0.1", port), backlog=128)
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or str(error)
        print(f"127.0.0.1:{port} cannot be used: {why}; choose another with --port", file=sys.stderr)
        sys.exit(2)


def opened(url: str) -> Pipeline:
    """The pipeline over a database; ends the process with 3 where there is none."""
    try:
        return Pipeline.open(url)
    except MinaError as error:
        print(error, file=sys.stderr)
        sys.exit(3)


def ready(listening: socket.socket) -> None:
    print(f"listening on http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
