"""What importing the library and opening an engine costs, beside SQLAlchemy alone: fresh processes, in turn."""

from __future__ import annotations

import platform
import statistics
import subprocess
import sys

ROUNDS = 9
CONTESTANTS = {
    "sqlalchemy + an engine (the floor)": "import sqlalchemy; sqlalchemy.create_engine('sqlite://').connect().close()",
    "mina_pipeline + an engine": (
        "import mina_pipeline, sqlalchemy; sqlalchemy.create_engine('sqlite://').connect().close()"
    ),
    "mina_pipeline + an opened pipeline": (
        "import mina_pipeline, tempfile, pathlib; d = tempfile.mkdtemp();"
        "mina_pipeline.Pipeline.open(f'sqlite:///{d}/x.db').close()"
    ),
}
TAIL = """
t = (time.perf_counter() - t) * 1000
print(t, [int(l.split()[1]) / 1024 for l in open('/proc/self/status') if l.startswith('VmHWM')][0])"""


def once(code: str) -> tuple[float, float]:
    text = "import time; t = time.perf_counter()\n" + code + TAIL
    out = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    ms, mib = map(float, out.stdout.split())
    return ms, mib


def main() -> None:
    seen: dict[str, list[tuple[float, float]]] = {name: [] for name in CONTESTANTS}
    for name, code in CONTESTANTS.items():
        once(code)  # writes the .pyc files
        del name
    for _ in range(ROUNDS):
        for name, code in CONTESTANTS.items():
            seen[name].append(once(code))
    print(f"Python {platform.python_version()}, {ROUNDS} rounds in turn, medians")
    floor = statistics.median(ms for ms, _ in next(iter(seen.values())))
    for name, runs in seen.items():
        ms = statistics.median(ms for ms, _ in runs)
        print(f"{name:40s} {ms:7.1f} ms  {ms / floor:5.2f} x  {statistics.median(m for _, m in runs):6.1f} MiB")


if __name__ == "__main__":
    main()
