"""The suite: what each verb costs, beside its peers and beside what the machine can do. Prints a Markdown section a verb.

    python -m bench                                   every verb: half an hour on two cores
    python -m bench render cam --rounds 9             these two
    python -m bench --check                           exit status 1, and a sentence each, where a figure misses its bar
    python -m bench --write                           also into RESULTS.md and its plots
    python -m bench --site PEERS --site MORE          peers are also looked for in these folders: see bench/peers.py

Verbs: render (beside torchbearer and Lucent), explain (Captum), cam (pytorch-grad-cam and TorchCAM), examples (the bare pass),
process (whole processes), memory, scaling (curves). Each runs in a process of its own, so that none inherits another's memory.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from bench import machine, results
from bench.measured import Bar, judged
from bench.settings import Settings
from bench.verbs import ORDER, VERBS, apart


def main(arguments: Sequence[str] | None = None) -> int:
    given = parsed(arguments)
    settings, command = settings_of(given), command_of(given)
    about = machine.described()  # before the first verb: the load is others'
    bars: list[Bar] = []
    for verb in given.verbs or VERBS:
        measured = apart(verb, settings)
        if given.quick:
            measured = replace(measured, bars=())
        said = results.section(verb, measured, f"{datetime.now(UTC):%Y-%m-%d}", about, command)
        print(f"{said}\n", flush=True)
        if given.write:
            results.write(given.into, verb, said, ORDER, measured.picture)
        bars += measured.bars
    return judged(bars) if given.check else 0


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("verbs", nargs="*", metavar="VERB", help=f"{', '.join(VERBS)}; all of them where none is given")
    parser.add_argument("--rounds", type=int, default=5, help="in which all that is compared takes turns")
    parser.add_argument("--threads", type=int, help="of torch; its own choice by default")
    parser.add_argument("--site", type=Path, action="append", default=[], help="a folder in which a peer is installed")
    parser.add_argument("--keep-memory", action="store_true", help="the allocator keeps it for peers too")
    parser.add_argument("--check", action="store_true", help="exit status 1 where a bar is missed")
    parser.add_argument("--write", action="store_true", help=f"also into {results.FILE}")
    parser.add_argument("--into", type=Path, default=Path(__file__).parent, help=f"the folder of {results.FILE}")
    parser.add_argument("--quick", action="store_true", help="the smallest sizes: only whether it runs")
    given = parser.parse_args(arguments)
    if unknown := [verb for verb in given.verbs if verb not in VERBS]:
        parser.error(f"{unknown[0]} is no verb; {', '.join(VERBS)} are")
    if given.rounds < 1:
        parser.error(f"--rounds is {given.rounds}; 1 or more is needed")
    if given.quick and (given.check or given.write):
        parser.error("--quick measures nothing that could be checked or written")
    return given


def settings_of(given: argparse.Namespace) -> Settings:
    sites = tuple(site.resolve() for site in given.site)
    return Settings(given.rounds, given.threads, sites, given.keep_memory, given.quick)


def command_of(given: argparse.Namespace) -> str:
    """As it would be typed; of folders their names alone, which say the same on another machine."""
    words = ["python -m bench", *given.verbs, f"--rounds {given.rounds}"]
    words += [f"--threads {given.threads}"] if given.threads else []
    words += [f"--site {site.name}" for site in given.site]
    flags = {"keep-memory": given.keep_memory, "check": given.check, "write": given.write, "quick": given.quick}
    return " ".join([*words, *(f"--{flag}" for flag, asked in flags.items() if asked)])


if __name__ == "__main__":
    sys.exit(main())
