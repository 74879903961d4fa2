#!/usr/bin/env python3
"""Runs clang-tidy on the public headers and on the headers changed since the base commit.

usage: tools/tidy.py BUILD_FOLDER    (its compile_commands.json says where headers lie)
The base is REGRAFT_BASE, else the upstream branch, else the commit before HEAD.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def git(*arguments: str) -> list[str]:
    result = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    return result.stdout.splitlines() if result.returncode == 0 else []


def base_commit() -> str:
    candidates = [os.environ.get("REGRAFT_BASE", ""), "@{upstream}", "HEAD~1"]
    for name in filter(None, candidates):
        found = git("merge-base", "HEAD", name)
        if found and found != git("rev-parse", "HEAD"):
            return found[0]
    return "HEAD"


def headers() -> list[str]:
    names = {f"include/regraft/{p.name}" for p in (ROOT / "include/regraft").glob("*.h")}
    names.update(git("diff", "--name-only", "--diff-filter=d", base_commit(), "--", "src/*.h"))
    return sorted(names)


def include_flags(build: Path) -> list[str]:
    """Every include folder of the build. Headers have no compile command of their own, and the one
    that clang-tidy guesses may be that of a target that sees less."""
    flags: dict[str, None] = {}
    for entry in json.loads((build / "compile_commands.json").read_text()):
        for match in re.finditer(r"(-I|-isystem )(\S+)", entry["command"]):
            flags[f"-isystem{match[2]}" if "system" in match[1] else f"-I{match[2]}"] = None
    return list(flags)


def tidy(header: str, flags: list[str]) -> str:
    command = [str(ROOT / ".venv/bin/clang-tidy"), "--quiet", header, "--", "-xc++", "-std=c++20"]
    result = subprocess.run([*command, *flags], cwd=ROOT, capture_output=True, text=True)
    return result.stdout + result.stderr if result.returncode else ""


def main() -> int:
    if len(sys.argv) != 2 or not (Path(sys.argv[1]) / "compile_commands.json").exists():
        print(__doc__, file=sys.stderr)
        return 2
    flags = include_flags(Path(sys.argv[1]))
    names = headers()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        problems = [text for text in pool.map(lambda h: tidy(h, flags), names) if text]
    print("\n".join(problems) if problems else f"clang-tidy: {len(names)} headers are clean")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
