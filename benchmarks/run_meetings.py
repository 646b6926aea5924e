"""Time and peak memory of `mina run` on each meeting in MINA_AMI_DIR, a fresh process and database each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CODE = """
import sys, resource
from mina_pipeline.cli import main
try:
    main()
finally:
    peak = [int(l.split()[1]) / 1024 for l in open('/proc/self/status') if l.startswith('VmHWM')][0]
    print(f'{peak:.0f}', file=open(sys.argv[0] + '.peak', 'w'))
"""


def main() -> None:
    folder = os.environ.get("MINA_AMI_DIR")
    if not folder:
        sys.exit("set MINA_AMI_DIR to a folder of .vtt meetings")
    print(f"{'meeting':12} {'cues':>5} {'seconds':>8} {'peak MiB':>9} {'events':>7}  state")
    for file in sorted(Path(folder).glob("*.vtt")):
        with tempfile.TemporaryDirectory() as away:
            script = Path(away, "run.py")
            script.write_text(CODE)
            began = time.perf_counter()
            command = [
                sys.executable,
                str(script),
                "run",
                str(file),
                "--json",
                "--db",
                f"sqlite:///{away}/m.db",
            ]
            out = subprocess.run(command, capture_output=True, text=True, check=False)
            seconds = time.perf_counter() - began
            line = json.loads(out.stdout)
            peak = Path(f"{script}.peak").read_text().strip()
        cues = line["stats"]["total_segments"]
        print(f"{file.stem:12} {cues:5} {seconds:8.2f} {peak:>9} {line['version']:7}  {line['state']}")


if __name__ == "__main__":
    main()
