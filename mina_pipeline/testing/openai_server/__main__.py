"""`python -m mina_pipeline.testing.openai_server`: the server in a process of its own; prints its base URL."""

from __future__ import annotations

import argparse
import json
import signal
import threading
from importlib import import_module
from pathlib import Path

from .server import OpenAIServer


def main() -> None:
    """Serve until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m mina_pipeline.testing.openai_server", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0, the default, takes a free one")
    parser.add_argument("--script", type=Path, help='a JSON file of what POST /script takes: {"replies": [...]}')
    parser.add_argument("--answer", help="package.module:function, from a request to a reply or its content")
    parser.add_argument("--model", action="append", help="a model that is known; others are not (default: all are)")
    parser.add_argument("--context", type=int, help="the most tokens of a prompt")
    options = parser.parse_args()
    answer = None
    if options.answer:
        module, _, name = options.answer.partition(":")
        answer = getattr(import_module(module), name)
    server = OpenAIServer(answer, port=options.port, models=options.model, context=options.context)
    if options.script:
        try:
            server.rules.add_json(json.loads(options.script.read_text()))
        except (OSError, ValueError) as error:
            parser.error(f"--script {options.script}: {error}")
    ended = threading.Event()
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda *_: ended.set())
    with server:
        print(server.base_url, flush=True)
        ended.wait()


if __name__ == "__main__":
    main()
