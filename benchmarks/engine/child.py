"""Child processes: a line asked, a line of figures answered; ended by their own pid."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]


class Child:
    """`python -m module args…`. It writes one line when it is ready. A context manager that kills it."""

    def __init__(self, module: str, *args: object, **environment: str) -> None:
        self.began = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, *map(str, args)],
            cwd=ROOT,
            env={**os.environ, **environment},
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        try:
            self.said = self.line()
        except BaseException:
            self.kill()
            raise

    def line(self) -> list[str]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the child ended, exit code {self.process.wait()}")
        return line.split()

    def rest(self) -> None:
        """Stop the process until it is asked again: its idle polling takes no time from the others."""
        self.process.send_signal(signal.SIGSTOP)

    def ask(self, command: str) -> list[float]:
        """The figures that it answers; it rests before and after."""
        assert self.process.stdin is not None
        self.process.send_signal(signal.SIGCONT)
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        figures = [float(figure) for figure in self.line()]
        self.rest()
        return figures

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
