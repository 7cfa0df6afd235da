"""What a new user does by the README alone: ``python tests/manual/readme_path.py FOLDER``.

Clones this repository to FOLDER, makes an environment in it, and runs every command and program of the README from
"Install" to "Python" as it is printed, in order. Prints the status and the seconds of each.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def steps(page: str) -> list[list[str]]:
    """Argument lists: each line of a block of commands, each program whole."""
    part = page[page.index("\n## Install\n") : page.index("\n## Networks\n")]
    found: list[list[str]] = []
    for language, text in BLOCK.findall(part):
        if language == "python":
            found.append(["python", "-c", text])
        elif not text.startswith("$ "):
            found += [["bash", "-c", line] for line in text.splitlines()]
    return found


def main() -> int:
    """Run them; the status is 1 where one failed."""
    folder = Path(sys.argv[1]).resolve()
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder / ".fresh")], check=True)
    environment = {
        "HOME": os.environ["HOME"],
        "PATH": f"{folder / '.fresh' / 'bin'}:{os.environ['PATH']}",
        **{name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_", "LANG"))},
    }
    failed = 0
    for command in steps((ROOT / "README.md").read_text(encoding="utf-8")):
        begin = time.monotonic()
        ended = subprocess.run(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        name = command[2].strip().splitlines()[0]
        print(f"{time.monotonic() - begin:7.1f} s  status {ended.returncode}  {name}", flush=True)
        if ended.returncode:
            failed += 1
            print(ended.stdout[-2000:], flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
