#!/usr/bin/env python3
"""Checks the include rules of tools/layers.toml; each rule is tested on its own cases first."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("include", "src", "python", "tests", "examples", "benchmarks")
SUFFIXES = {".h", ".cpp", ".cu", ".cuh", ".inc"}
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', re.MULTILINE)

Rule = dict[str, Any]


def violates(rule: Rule, file: str, include: str) -> bool:
    """Whether `file` including `include` breaks `rule`."""
    scope = re.fullmatch(rule["files"], file)
    if scope is None:
        return False
    forbid: str = rule["forbid"]
    for name, value in scope.groupdict().items():
        forbid = forbid.replace("{" + name + "}", re.escape(value))
    return re.fullmatch(forbid, include) is not None


def broken_rules(rules: list[Rule]) -> list[str]:
    """Rules that fail their own cases."""
    problems = []
    for rule in rules:
        cases = [(c, True) for c in rule["caught"]] + [(c, False) for c in rule["allowed"]]
        for (file, include), want in cases:
            if violates(rule, file, include) != want:
                verb = "catch" if want else "allow"
                problems.append(
                    f'tools/layers.toml: "{rule["why"]}" must {verb} {file} -> {include}'
                )
    return problems


def source_files() -> list[Path]:
    files = (f for folder in FOLDERS for f in (ROOT / folder).rglob("*") if f.suffix in SUFFIXES)
    return sorted(f for f in files if f.is_file())


def main() -> int:
    rules: list[Rule] = tomllib.loads((ROOT / "tools/layers.toml").read_text())["rule"]
    problems = broken_rules(rules)
    files = source_files()
    for path in files:
        file = path.relative_to(ROOT).as_posix()
        text = path.read_text(encoding="utf-8")
        for match in INCLUDE.finditer(text):
            line = text.count("\n", 0, match.start(1)) + 1
            problems += [
                f"{file}:{line}: includes {match[1]}: {rule['why']}"
                for rule in rules
                if violates(rule, file, match[1])
            ]
    print(
        "\n".join(problems)
        if problems
        else f"layers: {len(rules)} rules hold in {len(files)} files"
    )
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
