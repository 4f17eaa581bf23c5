"""`phosphene`: the commands in one program, and how it ends."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Annotated, Any

import typer
import typer.main

from ..errors import PhospheneError, RequestError, first_line, shown
from ..network.memory import kept
from . import defaults
from .activations import activations
from .boxes import boxes
from .class_model import class_model
from .doctor import doctor
from .dream import dream
from .evaluate import evaluate
from .examples import examples
from .explain import explain
from .filters import filters
from .gap_head import gap_head
from .layers import layers
from .locate import locate
from .neighbours import neighbours
from .quiet import quiet
from .render import render
from .rerun import rerun
from .statistics import statistics
from .stopping import as_ctrl_c
from .sweep import sweep
from .trust import trust
from .tune import tune

# What typer raises for a wrong request; the class itself is not public in every version.
_UsageError: type[Exception] = typer.BadParameter.__mro__[2]
_INTERRUPTED = 130  # what typer makes of Ctrl-C; Abort in older versions

app = typer.Typer(
    name="phosphene",
    help="Shows what a convolutional network has learned.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
_HELP = {"help_option_names": ["-h", "--help"]}
_GROUPS: dict[str, tuple[Callable[..., None], ...]] = {
    "Start here": (doctor, class_model, explain),
    "Draw what a network looks for": (render, dream, sweep, tune, rerun),
    "Look at photographs": (locate, activations, neighbours, examples),
    "Look at the network": (layers, filters, statistics, gap_head),
}
for _group, _commands in _GROUPS.items():
    for _command in _commands:
        _name = _command.__name__.replace("_", "-")
        app.command(name=_name, no_args_is_help=True, rich_help_panel=_group, context_settings=_HELP)(_command)
evaluate.command(name="boxes", no_args_is_help=True, context_settings=_HELP)(boxes)
evaluate.command(name="trust", no_args_is_help=True, context_settings=_HELP)(trust)
app.add_typer(evaluate, name="evaluate", rich_help_panel="Measure", context_settings=_HELP)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"phosphene {version('phosphene')}")
        raise typer.Exit


@app.callback()
def _global(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error; anywhere in the line.")] = False,
    silent: Annotated[
        bool, typer.Option("-q", "--quiet", help="No notes and no progress, errors alone; anywhere in the line.")
    ] = False,
) -> None:
    pass


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; gives the exit status: 0 done, 2 the request is wrong, 1 something failed or was interrupted."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    silent = bool({"-q", "--quiet"} & set(given))
    given = [one for one in given if one not in ("--debug", "-q", "--quiet")]
    try:
        with quiet(silent):
            return _run(given)
    except PhospheneError as error:
        return _told(error, str(error), error.status, debug)
    except _UsageError as error:
        said = error.format_message() if hasattr(error, "format_message") else str(error)
        return _told(error, said or "a command is needed; phosphene --help lists them", 2, debug)
    except (KeyboardInterrupt, typer.Abort):
        return _told(None, "interrupted", 1, debug)
    except OSError as error:  # standard output, or a place that no verb has named
        return _told(error, f"cannot write or read: {error.strerror or first_line(error)}", 1, debug)
    except Exception as error:
        from ..network.network import is_out_of_memory

        if is_out_of_memory(error):
            return _told(error, f"out of memory: {first_line(error)}; take a smaller --size or --batch", 1, debug)
        return _told(error, f"{type(error).__name__}: {first_line(error)} (a bug; --debug shows where)", 1, debug)


def _run(given: list[str]) -> int:
    _refuse_several_models(given)
    command = typer.main.get_command(app)
    values = {} if not given or {"-h", "--help", "--version"} & set(given) else _default_map(command)
    if len(given) == 1 and (model := values.get(given[0], {}).get("model")):
        given = [*given, "-m", model]  # a command without arguments shows its help
    status = command(given, standalone_mode=False, prog_name="phosphene", default_map=values)
    if status == _INTERRUPTED:
        raise KeyboardInterrupt
    return status if isinstance(status, int) else 0


def _refuse_several_models(given: Sequence[str]) -> None:
    """Of an option that is given twice the last counts; of networks that would be half of what was asked."""
    named = [given[i + 1] for i, one in enumerate(given[:-1]) if one in ("-m", "--model")]
    named += [one.partition("=")[2] for one in given if one.startswith("--model=")]
    if len(named) > 1:
        raise RequestError(
            f"-m must name one network, got {len(named)}: {' and '.join(map(shown, named))}. Run the command for each"
        )


def _default_map(command: Any) -> dict[str, Any]:
    """Defaults of options: those of phosphene.toml, the network also of the environment."""
    found = defaults.read()
    if found.note:
        typer.echo(f"note: {found.note}", err=True)
    commands = {name: one for name, one in command.commands.items() if name != "evaluate"}
    evaluating = command.commands["evaluate"].commands
    values: dict[str, Any] = found.of_commands(commands | {f"evaluate {name}": one for name, one in evaluating.items()})
    if model := os.environ.get(defaults.VARIABLE) or found.model:
        for one in values.values():
            one.setdefault("model", model)
    values["evaluate"] = {name: values.pop(f"evaluate {name}") for name in evaluating}
    return values


def _told(error: BaseException | None, text: str, status: int, debug: bool) -> int:
    if debug and error is not None:
        import traceback

        traceback.print_exception(error)
    typer.echo(f"phosphene: {' '.join(text.split())}", err=True)
    return status


class _Tolerant(io.TextIOWrapper):
    """Standard error that cannot be written, as on a full disk, stops no work."""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError:
            return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            super().flush()


def run() -> None:
    """The installed program."""
    if sys.stdout is None:  # closed, as a service's may be: the pictures are made all the same
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  for the program's whole life
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr = _Tolerant(sys.stderr.buffer, encoding=sys.stderr.encoding, line_buffering=True)
    for told in (sys.stdout, sys.stderr):
        if isinstance(told, io.TextIOWrapper):
            told.reconfigure(errors="backslashreplace")  # a folder's name need not be text; saying it must not fail
    with kept(), as_ctrl_c() as signals:  # for the program's whole life: it has no other use for the memory
        status = main()
    try:
        sys.stdout.flush()
    except OSError as error:
        status = _told(None, f"standard output cannot be written: {error.strerror or first_line(error)}", 1, False)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python flushes once more at its end
    sys.exit(128 + signals[0] if signals else status)
