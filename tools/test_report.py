"""Counting for tools/test: runs commands, times phases, reads GoogleTest and pytest results."""

from __future__ import annotations

import json
import os
import subprocess
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Totals:
    passed: int = 0
    skipped: int = 0
    failures: list[str] = field(default_factory=list)

    @property
    def failed(self) -> int:
        return len(self.failures)

    def __add__(self, other: Totals) -> Totals:
        return Totals(
            self.passed + other.passed,
            self.skipped + other.skipped,
            self.failures + other.failures,
        )


def gtest_totals(folder: Path, junit: Path) -> Totals:
    """Cases of every GoogleTest report in `folder`.

    An executable that ctest calls failed, but whose cases do not (it crashed, or it found no case),
    counts as one failure.
    """
    totals = Totals()
    failing = set()
    for path in sorted(folder.glob("*.json")):
        for suite in json.loads(path.read_text())["testsuites"]:
            for case in suite["testsuite"]:
                if case.get("failures"):
                    totals.failures.append(f"{path.stem}: {case['classname']}.{case['name']}")
                    failing.add(path.stem.split(".")[0])
                elif case["result"] == "SKIPPED" or case["status"] == "NOTRUN":
                    totals.skipped += 1
                else:
                    totals.passed += 1
    for case in ElementTree.parse(junit).getroot().iter("testcase"):
        if case.get("status") != "run" and "test_" + case.get("name", "") not in failing:
            totals.failures.append(f"{case.get('name')}: {case.get('status')}, no case to blame")
    return totals


def pytest_totals(result: Path) -> Totals:
    totals = Totals()
    for case in ElementTree.parse(result).getroot().iter("testcase"):
        outcomes = {child.tag for child in case}
        if outcomes & {"failure", "error"}:
            totals.failures.append(f"{case.get('classname')}.{case.get('name')}")
        elif "skipped" in outcomes:
            totals.skipped += 1
        else:
            totals.passed += 1
    return totals


@dataclass
class Report:
    """What ran and how it went. Commands run in the current folder, one by one if not said."""

    totals: Totals = field(default_factory=Totals)
    phases: list[tuple[str, float, Totals]] = field(default_factory=list)
    steps: dict[str, bool] = field(default_factory=dict)

    def phase(self, name: str, run: Callable[[Report], None]) -> None:
        print(f"\n== {name}", flush=True)
        before, start = self.totals, time.monotonic()
        self.totals = Totals()
        run(self)
        self.phases.append((name, time.monotonic() - start, self.totals))
        self.totals = before + self.totals

    def step(self, name: str, command: Sequence[str | Path]) -> bool:
        """One command that counts as one case; a step that ran before keeps its result."""
        if name not in self.steps:
            self.steps[name] = self._run(name, command, {}) == 0
            self._count_step(name)
        return self.steps[name]

    def steps_at_once(self, commands: Mapping[str, Sequence[str | Path]]) -> None:
        """Steps that run at the same time, one for each core; each shows its output at its end."""
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            runs = [pool.submit(self._run, *item, {}, at_once=True) for item in commands.items()]
        codes = [run.result() for run in runs]
        for name, code in zip(commands, codes, strict=True):
            self.steps[name] = code == 0
            self._count_step(name)

    def _count_step(self, name: str) -> None:
        self.totals += Totals(1) if self.steps[name] else Totals(failures=[name])

    def cases(
        self,
        name: str,
        command: Sequence[str | Path],
        count: Callable[[], Totals],
        environment: dict[str, str],
        empty_code: int = 0,
    ) -> None:
        """A test runner; `count` reads what it left. `empty_code` means that it found no test."""
        code = self._run(name, command, environment)
        try:
            found = count()
        except (OSError, ValueError, KeyError, ElementTree.ParseError) as error:
            print(f"{name}: no readable result: {error}")
            found = Totals(failures=[f"{name}: no readable result"])
        if code not in (0, empty_code) and found.failed == 0:
            found.failures.append(f"{name}: exit code {code}")
        print(
            f"   {found.passed} passed, {found.failed} failed, {found.skipped} skipped", flush=True
        )
        self.totals += found

    def table(self) -> str:
        """Phases, a line each, then the names of all that failed."""
        lines = [f"{'phase':10} {'time':>9} {'passed':>8} {'failed':>8} {'skipped':>8}"]
        for name, seconds, t in self.phases:
            lines.append(f"{name:10} {seconds:7.1f} s {t.passed:8} {t.failed:8} {t.skipped:8}")
        lines += [f"FAILED {name}" for name in self.totals.failures]
        return "\n".join(lines)

    @staticmethod
    def _run(
        name: str,
        command: Sequence[str | Path],
        environment: dict[str, str],
        at_once: bool = False,
    ) -> int:
        start = time.monotonic()
        if not at_once:
            print(f"-- {name}", flush=True)
        try:
            done = subprocess.run(
                [str(c) for c in command],
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if at_once else None,
                stderr=subprocess.STDOUT if at_once else None,
                text=True,
                errors="replace",
            )
            code, output = done.returncode, done.stdout or ""
        except OSError as error:
            code, output = 127, f"{command[0]}: {error}\n"
        head = f"-- {name}\n" if at_once else ""
        state = "ok" if code == 0 else f"FAILED (exit code {code})"
        print(f"{head}{output}   {state}, {time.monotonic() - start:.1f} s", flush=True)
        return code
