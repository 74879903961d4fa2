#!/usr/bin/env python3
"""Runs clang-tidy on the public headers and on the headers changed since the base commit.

usage: tools/tidy.py BUILD_FOLDER    (its compile_commands.json says how things are compiled)
The base is REGRAFT_BASE, else the upstream branch, else the commit before HEAD.
"""

from __future__ import annotations

import os
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


def tidy(build: Path, header: str) -> str:
    command = [str(ROOT / ".venv/bin/clang-tidy"), "--quiet", "-p", str(build), header]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return result.stdout + result.stderr if result.returncode else ""


def main() -> int:
    if len(sys.argv) != 2 or not (database := Path(sys.argv[1])).is_dir():
        print(__doc__, file=sys.stderr)
        return 2
    # Without the database clang-tidy says nothing about code that it could not parse.
    if not (database / "compile_commands.json").exists():
        print(f"{database}/compile_commands.json is missing", file=sys.stderr)
        return 2
    names = headers()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        problems = [text for text in pool.map(lambda h: tidy(database, h), names) if text]
    print("\n".join(problems) if problems else f"clang-tidy: {len(names)} headers are clean")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
