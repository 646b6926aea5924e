"""Child processes that are asked on stdin and answer on stdout, both in lines of JSON; ended by their own pid."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PAGE = os.sysconf("SC_PAGE_SIZE")
TICK = 1 / os.sysconf("SC_CLK_TCK")  # s


class Child:
    """`await Child.begin(module, args…)`: ready when it has said its first line, which is `said`."""

    process: asyncio.subprocess.Process
    said: Any

    @classmethod
    async def begin(cls, module: str, *args: str) -> Child:
        child = cls()
        child.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", module, *args,
            cwd=ROOT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            child.said = await child.line()
        except BaseException:
            await child.kill()
            raise
        return child

    async def line(self) -> Any:
        assert self.process.stdout is not None
        line = await asyncio.wait_for(self.process.stdout.readline(), 60)
        if not line:
            raise RuntimeError(f"the child ended, exit code {await self.process.wait()}")
        return json.loads(line)

    async def ask(self, *command: Any) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command).encode() + b"\n")
        return await self.line()

    def memory(self) -> int:
        """Its resident memory in bytes; 0 where the system does not tell."""
        try:
            return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * PAGE
        except OSError:
            return 0

    def processor_time(self) -> float:
        """The seconds that it has run, of all its threads; 0 where the system does not tell."""
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) * TICK

    async def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


def answer(speaker: Any, said: Any) -> None:
    """In the child: say that it is ready, then do what each line asks of the speaker."""
    print(json.dumps(said), flush=True)
    for line in sys.stdin:
        name, *args = json.loads(line)
        print(json.dumps(getattr(speaker, name)(*args)), flush=True)
    os._exit(0)  # servers in threads are not waited for
