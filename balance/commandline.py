"""What both command lines share: commands with their options and examples, suggestions for misspelt names, exit codes, errors in one line,
colours and progress on a terminal, completion in a shell.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol, TextIO, TypeVar

from balance.errors import BalanceError, Problem, suggestion
from balance.finding import report

EXIT_OK, EXIT_FINDINGS, EXIT_USAGE = 0, 1, 2
EXIT_INTERNAL, EXIT_INTERRUPTED, EXIT_PIPE = 70, 130, 141
"""As `sysexits.h` has it, and as shells have it for what SIGINT and SIGPIPE end."""
EXIT_CODES = "exit codes: 0 fine, 1 findings or drift, 2 wrong use or unreadable input, 70 internal error, 130 interrupted"
SHELLS = ("bash", "zsh", "tcsh")
STYLES = {"error": "31", "warning": "33", "removed": "31", "added": "32", "place": "36"}
_FULL = frozenset({errno.ENOSPC, errno.EIO, errno.EFBIG, errno.EDQUOT, errno.EBADF})
_WIDTH = 24
Thing = TypeVar("Thing")


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, with the nearest known name, and end with exit code 2. Options are not to be abbreviated:
    what is short for one today would be refused when another is added.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"formatter_class": argparse.RawDescriptionHelpFormatter, **options})

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_USAGE, f"{self.prog}: {message} (see: {self.prog} --help)\n")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            raise argparse.ArgumentError(action, f"invalid choice: {value!r} ({suggestion(str(value), map(str, action.choices))})")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Refuse here what is not known: the parser of a command knows the options that may have been meant."""
        options, unknown = super().parse_known_args(args, namespace)
        if unknown:
            near = suggestion(unknown[0].partition("=")[0], self.long_options).partition(" choices: ")[0]
            self.error(f"unrecognized arguments: {' '.join(unknown)}" + (f" ({near})" if near.startswith("did you") else ""))
        return options, unknown

    @property
    def long_options(self) -> list[str]:
        """All options that the help shows, by their long names."""
        return [name for name, action in self._option_string_actions.items() if name.startswith("--") and action.help != argparse.SUPPRESS]

    @property
    def commands(self) -> dict[str, Parser]:
        """The parsers of the commands, by name."""
        return {name: parser for action in self._command_actions for name, parser in action.choices.items()}

    @property
    def _command_actions(self) -> list[argparse._SubParsersAction[Parser]]:
        return [action for action in self._actions if isinstance(action, argparse._SubParsersAction)]

    def add_commands(self, commands: Iterable[Command], common: Parser | None = None) -> None:
        """Declare commands, each with the options of `common`, its own, and those that all have."""
        self.add_argument("--completion", choices=SHELLS, action=_Completion, help="print the completion of this command line for a shell")
        group = self.add_subparsers(dest="command", required=True, metavar="COMMAND")
        for command in commands:
            examples = "".join(f"  {line}\n" for line in command.examples.splitlines())
            parser = group.add_parser(
                command.name,
                parents=[common] if common else [],
                help=command.help,
                description=command.description or command.help,
                epilog=f"examples:\n{examples}{EXIT_CODES}",
                allow_abbrev=False,
            )
            if command.arguments:
                command.arguments(parser)
            volume = parser.add_mutually_exclusive_group()
            volume.add_argument("-q", "--quiet", action="store_true", help="print only errors")
            volume.add_argument("-v", "--verbose", action="store_true", help="print what was read and how long it took")
            parser.set_defaults(chosen=command)


@dataclass(frozen=True)
class Command:
    """One command of a command line.

    `run` takes the parsed options (for `balance-gen` also the bundle and the settings) and returns an exit code; `arguments` declares the
    options; `examples` are lines that begin with the program's name. A command that `logs` does what `--quiet` says itself. With one of the
    `foreign` options, `balance-gen` loads no source: the command looks only at what it is given.
    """

    name: str
    help: str
    run: Callable[..., int]
    arguments: Callable[[Parser], None] | None
    examples: str
    description: str = ""
    logs: bool = False
    foreign: tuple[str, ...] = ()


class _Completion(argparse.Action):
    """Prints a script that completes commands, options, choices and files."""

    def __call__(self, parser: argparse.ArgumentParser, _namespace: argparse.Namespace, shell: Any, _option: str | None = None) -> None:
        import shtab  # made once, when it is asked for: nothing of it is loaded when a command runs

        for command in parser.commands.values() if isinstance(parser, Parser) else ():
            for action in command._actions:
                if "FILE" in str(action.metavar):
                    action.complete = shtab.FILE  # type: ignore[attr-defined]
                elif action.metavar == "DIR":
                    action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
        print(shtab.complete(parser, shell))
        parser.exit()


def perform(parser: Parser, arguments: Sequence[str] | None, act: Callable[[argparse.Namespace], int], prefix: str = "") -> int:
    """Do what a command line asks for, and return its exit code. What a user can cause ends in one line for each problem, after
    `prefix`; an internal error shows its traceback.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever called
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 (until the process ends)
    verbose = False
    try:
        try:
            options = parser.parse_args(arguments)
        except SystemExit:
            sys.stdout.flush()
            raise
        verbose = options.verbose
        with _hushed(options.quiet and not options.chosen.logs), _timed(f"{prefix}{options.command}", verbose):
            code = act(options)
            sys.stdout.flush()
            return code
    except BalanceError as error:
        if verbose and error.__cause__:
            _trace(error.__cause__)
        for problem in error.problems:
            _say(f"{paint(prefix, 'error', sys.stderr)}{problem}")
        return EXIT_USAGE
    except KeyboardInterrupt:
        _say(f"{prefix}interrupted")
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # whoever read our output has seen enough
        silence(sys.stdout)
        return EXIT_PIPE
    except OSError as error:
        if not (isinstance(error.filename, (str, bytes, os.PathLike)) or error.errno in _FULL):
            return _internal_error(error, parser.prog)
        if error.filename:
            _say(f"{prefix}{os.fsdecode(error.filename)}: {error.strerror} (check the path)")
        else:
            silence(sys.stdout)
            _say(f"{prefix}standard output: {error.strerror} (free some space, or write elsewhere)")
        return EXIT_USAGE
    except Exception as error:  # noqa: BLE001 (told whole)
        return _internal_error(error, parser.prog)


def _internal_error(error: Exception, program: str) -> int:
    """Not exit code 1, as Python has it: that would say that there are findings."""
    _trace(error)
    _say(f"{program}: internal error: please report it with the lines above")
    return EXIT_INTERNAL


def _trace(error: BaseException) -> None:
    import traceback

    traceback.print_exception(error)


def _say(words: str) -> None:
    try:
        print(words, file=sys.stderr, flush=True)
    except OSError:  # nobody listens there any more: the exit code tells
        silence(sys.stderr)


@contextmanager
def _hushed(quiet: bool) -> Iterator[None]:
    """Words go nowhere; errors are told by who called."""
    if not quiet:
        yield
        return
    from contextlib import redirect_stderr

    with open(os.devnull, "w") as nowhere, redirect_stderr(nowhere):
        yield


@contextmanager
def _timed(what: str, verbose: bool) -> Iterator[None]:
    if not verbose:
        yield
        return
    import time

    begin = time.monotonic()
    yield
    print(f"{what}: took {time.monotonic() - begin:.2f} s", file=sys.stderr)


def silence(stream: TextIO) -> None:
    """Let a stream whose reader has gone write to nowhere: what its buffer still holds would fail again when the process ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def paint(words: str, style: str, stream: TextIO) -> str:
    """The words in the colour of a style, if the stream is a terminal that may have colours (`NO_COLOR` forbids them)."""
    if not words or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not stream.isatty():
        return words
    return f"\x1b[{STYLES[style]}m{words}\x1b[0m"


def add_format(parser: Parser, *more: str) -> None:
    """The option `--format`: text or json, or one of `more`."""
    parser.add_argument("--format", choices=("text", "json", *more), default="text", help="default: text")


def print_findings(form: str, findings: Sequence[Problem], summary: Mapping[str, Any], notes: Sequence[str] = (), **more: Any) -> int:
    """Print findings as one JSON object (with `more` of its keys), or a line each with `notes` below them and the summary on stderr.
    Returns the exit code.
    """
    if form == "json":
        sys.stdout.write(report(findings, summary, **more))
    else:
        show(findings)
        for line in notes:
            print(line)
        print(", ".join(f"{value} {name.replace('_', ' ')}" for name, value in summary.items()), file=sys.stderr)
    return EXIT_FINDINGS if findings else EXIT_OK


class Graded(Protocol):
    """A finding, or anything else with a severity that is a style."""

    @property
    def severity(self) -> str: ...


def show(findings: Iterable[Graded]) -> None:
    """Print findings, a line each, by severity in colour."""
    for finding in findings:
        print(paint(str(finding), finding.severity, sys.stdout))


def progress(things: Iterable[Thing], name: Callable[[Thing], str], total: int) -> Iterator[Thing]:
    """The things, one by one. On a terminal, from the first second on, stderr shows how many are done and which one is being done."""
    if not sys.stderr.isatty():
        yield from things
        return
    from threading import Lock, Timer
    from time import monotonic

    stream, begin, lock = sys.stderr, monotonic(), Lock()
    done, doing = 0, ""

    def draw() -> None:
        with lock:
            bar = "#" * (_WIDTH * done // max(total, 1))
            print(f"\r[{bar:.<{_WIDTH}}] {done}/{total} {doing}\x1b[K", end="", file=stream, flush=True)

    first = Timer(1, draw)
    first.daemon = True
    first.start()
    try:
        for done, thing in enumerate(things):  # noqa: B007 (drawn)
            doing = name(thing)
            if monotonic() - begin > 1:
                draw()
            yield thing
    finally:
        first.cancel()
        first.join()
        if monotonic() - begin > 1:
            print("\r\x1b[K", end="", file=stream, flush=True)
