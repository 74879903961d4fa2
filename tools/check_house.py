#!/usr/bin/env python3
"""Checks sizes (files, public headers) and that each public header compiles alone."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MAX_LINES = 600
MAX_PUBLIC_HEADERS = 10
SUFFIXES = {".h", ".cpp", ".cu", ".cuh", ".py", ".cmake"}


def long_files() -> list[str]:
    names = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    problems = []
    for name in names:
        path = ROOT / name
        if path.suffix in SUFFIXES and path.is_file():
            lines = path.read_bytes().count(b"\n")
            if lines > MAX_LINES:
                problems.append(f"{name}: want at most {MAX_LINES} lines, have {lines}")
    return problems


def compile_alone(header: Path) -> str:
    """Compiler output for a file that includes only `header`; empty when it compiles."""
    command = [
        os.environ.get("CXX", "g++"),
        "-std=c++20",
        "-fsyntax-only",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-I",
        str(ROOT / "include"),
        "-x",
        "c++",
        "-",
    ]
    source = f'#include "regraft/{header.name}"\n#include "regraft/{header.name}"\n'
    result = subprocess.run(command, input=source, capture_output=True, text=True)
    return f"{header.name} does not compile alone:\n{result.stderr}" if result.returncode else ""


def main() -> int:
    headers = sorted((ROOT / "include/regraft").rglob("*.h"))
    problems = long_files()
    if len(headers) > MAX_PUBLIC_HEADERS:
        problems.append(f"include/: want at most {MAX_PUBLIC_HEADERS} headers, have {len(headers)}")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        problems += [text for text in pool.map(compile_alone, headers) if text]
    print(
        "\n".join(problems) if problems else f"house: {len(headers)} public headers compile alone"
    )
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
