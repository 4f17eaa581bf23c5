"""Mutation testing: how many small faults, put into `src` one at a time at random places, fail a test.

    python -m bench.mutants                           300 mutants, seed 0, after `pytest --cov --cov-context=test`
    python -m bench.mutants --count 50 --seed 7       others
    python -m bench.mutants --check 92                exit status 1 where fewer than 92 % are killed

cosmic-ray makes the mutants. Each runs in a copy of the tree under the tests that run its line, most specific first, and until
one fails: first under NEAREST tests, then under up to FARTHER in all. Results are appended to a file as they come, and what
stands there is not run again. Needs a Unix and a coverage file with contexts (`pytest --cov --cov-context=test`).
"""

from __future__ import annotations

import argparse
import ast
import json
import multiprocessing
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = "src/phosphene"
NEAREST, FARTHER = 30, 120  # tests of the first attempt and of both
LIMITS = (120, 300)  # seconds of processor time of the first and the second attempt
NONE = "(no test is named)"
KEPT = (
    "src",
    "tests",
    "bench",
    "docs",
    "examples",
    "pyproject.toml",
    "README.md",
    "CHANGELOG.md",
    "Makefile",
    "constraints.txt",
)

Span = tuple[tuple[int, int], tuple[int, int]]  # (line, column) of the first and behind the last character


@dataclass(frozen=True)
class Mutant:
    """One change of one place.

    path        of the source file, below SOURCE
    operator    cosmic-ray's name of the kind of change
    line        where it is
    statement   the line where its statement begins, or 0 if it runs at import
    occurrence  which of the file's places for this operator
    """

    path: str
    line: int
    statement: int
    operator: str
    occurrence: int

    @property
    def key(self) -> str:
        return f"{self.path}:{self.line} {self.operator} {self.occurrence}"


@dataclass(frozen=True)
class Outcome:
    """What became of a mutant.

    before, after  the changed line without and with the fault
    verdict        "killed", "slow" (stopped at the time limit) or "survived"
    test           the test that failed
    tests          how many were to run
    """

    key: str
    before: str
    after: str
    verdict: str
    test: str
    tests: int
    seconds: float


def drawn(sources: Iterable[Path], below: Path, count: int, seed: int) -> list[Mutant]:
    """A sample without repeats: places are drawn uniformly, then one of the changes that are possible there."""
    choices: dict[tuple[str, Span], list[Mutant]] = defaultdict(list)
    for source in sorted(sources):
        path = source.relative_to(below).as_posix()
        for span, mutant in _mutants(source.read_text("utf-8"), path):
            choices[path, span].append(mutant)
    rng = random.Random(seed)
    places = sorted(choices)
    return [rng.choice(choices[place]) for place in rng.sample(places, min(count, len(places)))]


def _mutants(code: str, path: str) -> Iterator[tuple[Span, Mutant]]:
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.plugins import get_operator, operator_names

    classes = {name: get_operator(name) for name in operator_names()}
    operators = {name: one() for name, one in classes.items() if not one.arguments()}
    never = list(unread(code))
    begins = statements(code)
    lines = code.splitlines()
    seen: Counter[str] = Counter()
    for node in ast_nodes(get_ast(code)):
        for name, operator in operators.items():
            for start, end in operator.mutation_positions(node):
                occurrence = seen[name]
                seen[name] += 1
                if name.endswith("ExceptionReplacer") and not re.search(r"except [\w(, )]+(:| as )", lines[start[0] - 1]):
                    continue  # it changes plain names alone
                if not any(first <= start and end <= last for first, last in never):
                    yield (start, end), Mutant(path, start[0], begins[start[0]], name, occurrence)


def unread(code: str) -> Iterator[Span]:
    """Spans that no run evaluates: annotations, and what is for type checkers alone.

    >>> sorted(unread("def f(x: int | None) -> int: ..."))
    [((1, 9), (1, 19)), ((1, 24), (1, 27))]
    """
    for node in ast.walk(ast.parse(code)):
        parts: list[ast.AST | None] = []
        if isinstance(node, ast.arg | ast.AnnAssign):
            parts = [node.annotation]
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            parts = [node.returns]
        elif isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            parts = [node]
        for part in parts:
            if isinstance(part, ast.expr | ast.stmt):
                yield (part.lineno, part.col_offset), (part.end_lineno or 0, part.end_col_offset or 0)


def statements(code: str) -> dict[int, int]:
    """Where the statement of each line begins, which is the line that coverage counts; 0 for what runs at import.

    >>> statements("x = 1\\ndef f(a=2):\\n  g(\\n  3)\\n  return a")
    {1: 0, 2: 0, 3: 3, 4: 3, 5: 5}
    """
    begins: dict[int, int] = dict.fromkeys(range(1, code.count("\n") + 2), 0)
    functions = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    inner = [node for function in functions for part in function.body for node in ast.walk(part) if isinstance(node, ast.stmt)]
    for node in sorted(inner, key=lambda node: node.lineno):
        begins |= dict.fromkeys(range(node.lineno, (node.end_lineno or node.lineno) + 1), node.lineno)
    return begins


class Coverage:
    """Which tests ran which lines, by coverage's contexts."""

    def __init__(self, files: Sequence[Path]) -> None:
        from coverage import CoverageData

        self.of_line: dict[tuple[str, int], set[str]] = defaultdict(set)
        self.of_file: dict[str, set[str]] = defaultdict(set)
        self.lines: Counter[str] = Counter()
        for file in files:
            data = CoverageData(str(file))
            data.read()
            for name in data.measured_files():
                path = name.rpartition(f"{SOURCE}/")[2]
                for line, contexts in data.contexts_by_lineno(name).items():
                    tests = {context.rpartition("|")[0] for context in contexts if "|" in context}
                    self.of_line[path, line] |= tests
                    self.of_file[path] |= tests
                    self.lines.update(tests)

    def of(self, path: str, statement: int) -> list[str]:
        """The most specific first: of the file that mirrors the source, of its folder, then those that run the fewest lines.

        What runs at import, such as a default or a constant, belongs to all tests that enter its file.
        """
        source = Path(path)
        mirror = f"tests/{source.parent.as_posix()}/test_{source.stem}.py"
        room = f"tests/{source.parts[0] if len(source.parts) > 1 else ''}"

        def distance(test: str) -> tuple[bool, bool, int, str]:
            return not test.startswith((mirror, f"{SOURCE}/{path}")), not test.startswith(room), self.lines[test], test

        # A cached line may have run while tests were collected, for no test: those of the mirror are near all the same.
        mirrored = {test for test in self.of_file[path] if test.startswith(mirror)}
        return sorted(mirrored | self.of_line[path, statement] if statement else self.of_file[path], key=distance)


def attempted(tree: Path, tests: Sequence[str], limit: int) -> tuple[str, str]:
    """The verdict and the first test that failed, of tests run in a process of their own that has torch already."""
    report = tree / "report.txt"
    report.write_text("")
    process = multiprocessing.get_context("fork").Process(target=_tests, args=(tree, list(tests), report, limit))
    process.start()
    process.join(4 * limit)
    slow = process.is_alive() or process.exitcode == -signal.SIGXCPU
    if process.pid is not None:
        try:
            os.killpg(process.pid, signal.SIGKILL)  # and what a test has started
        except ProcessLookupError:
            pass
    process.join()
    if slow:
        return "slow", ""
    if process.exitcode == 0:
        return "survived", ""
    failed = re.search(r"^(?:FAILED|ERROR) ((?:tests|src)/.+?)(?: - |$)", report.read_text(), re.MULTILINE)
    return "killed", failed[1] if failed else NONE


def _tests(tree: Path, tests: list[str], report: Path, limit: int) -> None:
    import pytest

    os.setsid()
    os.chdir(tree)
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))
    os.environ |= {"PYTHONPATH": str(tree / "src"), "OMP_NUM_THREADS": "1"}
    sys.path[:0] = [str(tree), str(tree / "src")]
    for name in [name for name in sys.modules if name.partition(".")[0] in ("bench", "phosphene", "tests")]:
        del sys.modules[name]
    with report.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        status = pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-m", "not slow", "--hypothesis-seed=0", *tests])
    os._exit(int(status))


def tried(mutant: Mutant, tree: Path, tests: Sequence[str]) -> Outcome:
    """The mutant's outcome under the nearest tests, and under more where it outlives these."""
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    source = tree / SOURCE / mutant.path
    code, started = source.read_text("utf-8"), time.perf_counter()
    changed = mutate_code(code, get_operator(mutant.operator)(), mutant.occurrence)
    for compiled in (source.parent / "__pycache__").glob(f"{source.stem}.*.pyc"):
        compiled.unlink()  # it is told from another by its size and second alone
    source.write_text(changed, "utf-8")
    verdict, test = ("survived", "")
    try:
        for part, limit in zip((tests[:NEAREST], tests[NEAREST:FARTHER]), LIMITS, strict=True):
            if part and verdict == "survived":
                verdict, test = attempted(tree, part, limit)
    finally:
        source.write_text(code, "utf-8")
    lines = zip(code.splitlines(), changed.splitlines(), strict=False)
    before, after = next(((a.strip(), b.strip()) for a, b in lines if a != b), ("", ""))
    return Outcome(mutant.key, before, after, verdict, test, min(len(tests), FARTHER), round(time.perf_counter() - started, 1))


def copied(root: Path, into: Path) -> Path:
    for name in KEPT:
        source = root / name
        if source.is_dir():
            shutil.copytree(source, into / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy(source, into / name)
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(into / "src"), str(into / "tests")], check=False)
    return into


def told(outcomes: Sequence[Outcome]) -> str:
    """The share that is killed, and a Markdown table of those that were not."""
    verdicts = Counter(outcome.verdict for outcome in outcomes)
    rows = [f"{share(outcomes):.1f} % of {len(outcomes)} mutants killed; {dict(verdicts)}", ""]
    left = [outcome for outcome in outcomes if outcome.verdict != "killed"]
    rows += ["| place and operator | line | with the fault | |", "|---|---|---|---|"]
    rows += [f"| {one.key} | `{one.before}` | `{one.after}` | {one.verdict} of {one.tests} tests |" for one in left]
    return "\n".join(rows)


def share(outcomes: Sequence[Outcome]) -> float:
    return 100 * sum(outcome.verdict == "killed" for outcome in outcomes) / max(1, len(outcomes))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        "python -m bench.mutants", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=300, help="how many are drawn (default: 300)")
    parser.add_argument("--seed", type=int, default=0, help="of the draw (default: 0)")
    parser.add_argument(
        "--only", nargs="+", default=[""], metavar="PATH", help="of those drawn run what lies below, as rendering/"
    )
    parser.add_argument("--coverage", type=Path, nargs="+", default=[ROOT / ".coverage"], help="files with contexts")
    parser.add_argument("--into", type=Path, default=ROOT / "build" / "mutants.jsonl", help="where results are appended")
    parser.add_argument("--check", type=float, metavar="PERCENT", help="exit status 1 where fewer are killed")
    options = parser.parse_args(arguments)
    import torch  # noqa: F401  each test process is a fork of this one

    tests = Coverage(options.coverage)
    options.into.parent.mkdir(parents=True, exist_ok=True)
    options.into.touch()
    outcomes = {one["key"]: Outcome(**one) for one in map(json.loads, options.into.read_text("utf-8").splitlines())}
    with tempfile.TemporaryDirectory() as folder:
        tree = copied(ROOT, Path(folder))
        below = tree / SOURCE
        mutants = drawn(below.rglob("*.py"), below, options.count, options.seed)
        mutants = [mutant for mutant in mutants if mutant.path.startswith(tuple(options.only))]
        for mutant in mutants:
            if mutant.key not in outcomes:
                outcome = tried(mutant, tree, tests.of(mutant.path, mutant.statement))
                outcomes[mutant.key] = outcome
                with options.into.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(outcome)) + "\n")
                print(f"{outcome.verdict} {outcome.seconds} s {mutant.key}: {outcome.after}  {outcome.test}", flush=True)
        killers = sorted({outcomes[mutant.key].test for mutant in mutants} - {"", NONE})
        verdict, test = attempted(tree, killers, LIMITS[1])
        if not killers or verdict != "survived":
            print(f"not to be trusted: {test or 'what killed mutants'} fails without a fault too")
            return 1
    ran = [outcomes[mutant.key] for mutant in mutants]
    print(told(ran))
    return int(options.check is not None and share(ran) < options.check)


if __name__ == "__main__":
    sys.exit(main())
