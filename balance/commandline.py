"""Shared by both command lines: commands with options and examples, suggestions for misspelt names, exit codes, one-line errors, colours and
progress on a terminal, shell completion.
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
"""70 is `EX_SOFTWARE` of `sysexits.h`; 130 and 141 are what shells report for SIGINT and SIGPIPE."""
EXIT_CODES = "exit codes: 0 fine, 1 findings or drift, 2 wrong use or unreadable input, 70 internal error, 130 interrupted"
SHELLS = ("bash", "zsh", "tcsh")
STYLES = {"error": "31", "warning": "33", "removed": "31", "added": "32", "place": "36"}
_FULL = frozenset({errno.ENOSPC, errno.EIO, errno.EFBIG, errno.EDQUOT, errno.EBADF})
_WIDTH = 24
Item = TypeVar("Item")


class Parser(argparse.ArgumentParser):
    """A parser with one-line errors, which suggest the nearest known name, and exit code 2. Options cannot be abbreviated: an abbreviation would
    become ambiguous when another option is added.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"formatter_class": argparse.RawDescriptionHelpFormatter, **options})

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_USAGE, f"{self.prog}: {message} (see: {self.prog} --help)\n")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            raise argparse.ArgumentError(action, f"invalid choice: {value!r} ({suggestion(str(value), map(str, action.choices))})")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse arguments; an unknown option is an error here, because the parser of a command knows the options to suggest."""
        options, unknown = super().parse_known_args(args, namespace)
        if unknown:
            near = suggestion(unknown[0].partition("=")[0], self.long_options).partition(" choices: ")[0]
            self.error(f"unrecognized arguments: {' '.join(unknown)}" + (f" ({near})" if near.startswith("did you") else ""))
        return options, unknown

    @property
    def long_options(self) -> list[str]:
        """The long names of all options in the help."""
        return [name for name, action in self._option_string_actions.items() if name.startswith("--") and action.help != argparse.SUPPRESS]

    @property
    def commands(self) -> dict[str, Parser]:
        """The parsers of the commands, by name."""
        return {name: parser for action in self._command_actions for name, parser in action.choices.items()}

    @property
    def _command_actions(self) -> list[argparse._SubParsersAction[Parser]]:
        return [action for action in self._actions if isinstance(action, argparse._SubParsersAction)]

    def add_commands(self, commands: Iterable[Command], common: Parser | None = None) -> None:
        """Add commands, each with the options of `common`, its own, `--quiet` and `--verbose`; and `--completion`."""
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
    options; `examples` are lines that begin with the program's name. A command that `logs` handles `--quiet` itself. With one of the `foreign`
    options, `balance-gen` loads no source: the command only needs what it is given.
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
    """Prints a shell script that completes commands, options, choices and files."""

    def __call__(self, parser: argparse.ArgumentParser, _namespace: argparse.Namespace, shell: Any, _option: str | None = None) -> None:
        import shtab  # only needed to print the script

        for command in parser.commands.values() if isinstance(parser, Parser) else ():
            for action in command._actions:
                if "FILE" in str(action.metavar):
                    action.complete = shtab.FILE  # type: ignore[attr-defined]
                elif action.metavar == "DIR":
                    action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
        print(shtab.complete(parser, shell))
        parser.exit()


def run_command(parser: Parser, arguments: Sequence[str] | None, act: Callable[[argparse.Namespace], int], prefix: str = "") -> int:
    """Parse the arguments, call `act` with the options and return the exit code. Errors that a user can cause print one line for each problem,
    after `prefix`; an internal error prints its traceback.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 (until the process ends)
    verbose = False
    try:
        try:
            options = parser.parse_args(arguments)
        except SystemExit:
            sys.stdout.flush()
            raise
        verbose = options.verbose
        with _quiet(options.quiet and not options.chosen.logs), _timed(f"{prefix}{options.command}", verbose):
            code = act(options)
            sys.stdout.flush()
            return code
    except BalanceError as error:
        if verbose and error.__cause__:
            _trace(error.__cause__)
        for problem in error.problems:
            _print_error(f"{paint(prefix, 'error', sys.stderr)}{problem}")
        return EXIT_USAGE
    except KeyboardInterrupt:
        _print_error(f"{prefix}interrupted")
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader of a pipe has gone
        silence(sys.stdout)
        return EXIT_PIPE
    except OSError as error:
        if not (isinstance(error.filename, (str, bytes, os.PathLike)) or error.errno in _FULL):
            return _internal_error(error, parser.prog)
        if error.filename:
            _print_error(f"{prefix}{os.fsdecode(error.filename)}: {error.strerror} (check the path)")
        else:
            silence(sys.stdout)
            _print_error(f"{prefix}standard output: {error.strerror} (free some space, or write elsewhere)")
        return EXIT_USAGE
    except Exception as error:  # noqa: BLE001 (printed with its traceback)
        return _internal_error(error, parser.prog)


def _internal_error(error: Exception, program: str) -> int:
    """Print the traceback. The exit code is not Python's 1, which means findings."""
    _trace(error)
    _print_error(f"{program}: internal error: please report it with the lines above")
    return EXIT_INTERNAL


def _trace(error: BaseException) -> None:
    import traceback

    traceback.print_exception(error)


def _print_error(text: str) -> None:
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:  # the reader of stderr has gone: the exit code is enough
        silence(sys.stderr)


@contextmanager
def _quiet(quiet: bool) -> Iterator[None]:
    """Discard stderr if `quiet`; the caller prints errors."""
    if not quiet:
        yield
        return
    from contextlib import redirect_stderr

    with open(os.devnull, "w") as devnull, redirect_stderr(devnull):
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
    """Redirect a stream whose reader has gone to /dev/null: flushing its buffer at exit would fail again."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, stream.fileno())
    os.close(devnull)


def paint(text: str, style: str, stream: TextIO) -> str:
    """The text in the colour of a style (see `STYLES`), if the stream is a terminal and `NO_COLOR` is not set."""
    if not text or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not stream.isatty():
        return text
    return f"\x1b[{STYLES[style]}m{text}\x1b[0m"


def add_format(parser: Parser, *more: str) -> None:
    """Add the option `--format`: text, json or one of `more`."""
    parser.add_argument("--format", choices=("text", "json", *more), default="text", help="default: text")


def print_findings(form: str, findings: Sequence[Problem], summary: Mapping[str, Any], notes: Sequence[str] = (), **more: Any) -> int:
    """Print findings as one JSON object with the further keys `more` (form "json"), or one line each with `notes` below and the summary on stderr.
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


class HasSeverity(Protocol):
    """A finding, or anything else with a severity that is a key of `STYLES`."""

    @property
    def severity(self) -> str:
        """The key of `STYLES`."""
        ...


def show(findings: Iterable[HasSeverity]) -> None:
    """Print findings, one line each, coloured by severity."""
    for finding in findings:
        print(paint(str(finding), finding.severity, sys.stdout))


def progress(items: Iterable[Item], name: Callable[[Item], str], total: int) -> Iterator[Item]:
    """Iterate over the items. After one second, a terminal on stderr shows how many of `total` are done, and the name of the current one."""
    if not sys.stderr.isatty():
        yield from items
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
        for done, item in enumerate(items):  # noqa: B007 (drawn)
            doing = name(item)
            if monotonic() - begin > 1:
                draw()
            yield item
    finally:
        first.cancel()
        first.join()
        if monotonic() - begin > 1:
            print("\r\x1b[K", end="", file=stream, flush=True)
