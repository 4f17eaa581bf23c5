"""`python -m bench process`: what a user waits for from the command to the prompt."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from bench import peers
from bench.machine import version_of
from bench.measured import Bar, Measured, number
from bench.settings import Settings
from bench.turns import in_turns, seconds, tell

HEAD = ("command", "seconds", "above `import torch`")
TEXT = """Whole processes, from start to end: medians of {rounds} rounds in which all take turns, after one that is not counted.
`import phosphene` alone imports nothing else; `phosphene.render` is what a program asks for next, and what is judged. The
first picture is `phosphene class-model -m demo:robust -c cat`: 128 steps at 32 px, its sheet and its record."""
BASE, ASKED, PICTURE = "import torch", "phosphene --help", "phosphene class-model"
LAZY, OURS = "import phosphene", "import phosphene; phosphene.render"
IMPORT, HELP = 1.0, 0.5  # seconds: the bars


@dataclass(frozen=True)
class Command:
    """name: as a user types it; words: what is run; about: its version; peer: whether it is found through --site."""

    name: str
    words: tuple[str, ...]
    about: str = ""
    peer: bool = False


def measure(settings: Settings) -> Measured:
    absent = [f"{why}: no row" for peer in peers.MODULES if (why := peers.missing(peer))]
    with tempfile.TemporaryDirectory() as folder:
        every = commands(folder)
        timed = [partial(run, command, settings) for command in every]
        for command, once in zip(every, timed, strict=True):
            tell(f"process: {command.name}")
            once()
        times = in_turns([partial(seconds, one) for one in timed], settings.rounds)
    found = {command.name: took for command, took in zip(every, times, strict=True)}
    rows = [
        (f"`{one.name}` {one.about}".strip(), number(found[one.name]), f"{found[one.name] - found[BASE]:+.2f}") for one in every
    ]
    text = TEXT.format(rounds=settings.rounds)
    return Measured(text, HEAD, tuple(rows), tuple(absent), bars(found), torch.get_num_threads())


def commands(folder: str) -> list[Command]:
    """What is waited for, of the peers that are installed too."""
    program = str(Path(sys.executable).with_name("phosphene"))
    picture = program, "class-model", "-m", "demo:robust", "-c", "cat", "-o", folder
    theirs = [
        Command(f"import {module}", _python(f"import {module}"), f"({peer} {version_of(peer)})", peer=True)
        for peer, module in peers.MODULES.items()
        if not peers.missing(peer)
    ]
    ours = [Command(line, _python(line)) for line in (BASE, LAZY, OURS)]
    return [*ours, Command(ASKED, (program, "--help")), Command(PICTURE, picture), *theirs]


def run(command: Command, settings: Settings) -> None:
    apart(command.words, settings.environment(sites=command.peer))


def apart(words: Sequence[str], environment: Mapping[str, str]) -> str:
    """What a process of its own says, begun where `bench` can be imported."""
    done = subprocess.run(words, env=environment, cwd=Path(__file__).parents[1], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)} ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    return done.stdout


def bars(found: dict[str, float]) -> tuple[Bar, ...]:
    above = found[OURS] - found[BASE]
    return (
        Bar(f"process, {OURS} above {BASE}", above, IMPORT, " s", most=True),
        Bar(f"process, {ASKED}", found[ASKED], HELP, " s", most=True),
    )


def _python(code: str) -> tuple[str, ...]:
    return sys.executable, "-c", code
