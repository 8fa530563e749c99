"""What both command lines share: options and examples of every command, suggestions for misspelt names, exit codes, errors in one line,
readers that go away, colours and progress on a terminal, completion in a shell.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn, Protocol, TextIO, TypeVar

from balance.errors import BalanceError, suggestion

FINE, FINDINGS, WRONG_USE = 0, 1, 2
OUR_FAULT, INTERRUPTED, READER_GONE = 70, 130, 141
"""As `sysexits.h` has it, and as shells have it for what SIGINT and SIGPIPE end."""
CODES = "exit codes: 0 fine, 1 findings or drift, 2 wrong use or unreadable input, 70 a fault of ours, 130 interrupted"
SHELLS = ("bash", "zsh", "tcsh")
STYLES = {"error": "31", "warning": "33", "removed": "31", "added": "32", "place": "36"}
_FULL = frozenset({errno.ENOSPC, errno.EIO, errno.EFBIG, errno.EDQUOT, errno.EBADF})
_WIDTH = 24
Thing = TypeVar("Thing")


class _Help(argparse.RawDescriptionHelpFormatter):
    """As wide as the terminal. argparse makes one for each argument that is declared, and would load shutil and the compression modules."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_columns() - 2)


def _columns() -> int:
    given = os.environ.get("COLUMNS", "")
    try:
        return int(given) if given.isdecimal() and int(given) else os.get_terminal_size(1).columns or 80
    except OSError:  # no terminal
        return 80


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, with the nearest known name, and end with exit code 2. Options are not to be abbreviated:
    what is short for one today would be refused when another is added.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"formatter_class": _Help, **options})

    def error(self, message: str) -> NoReturn:
        self.exit(WRONG_USE, f"{self.prog}: {message} (see: {self.prog} --help)\n")

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

    def finish(self, examples: Mapping[str, str]) -> Parser:
        """Give every command what all have: its examples (lines that begin with the program's name), and how much it says."""
        self.add_argument("--completion", choices=SHELLS, action=_Completion, help="print the completion of this command line for a shell")
        words = {choice.dest: choice.help for action in self._command_actions for choice in action._choices_actions}
        for name, command in self.commands.items():
            command.description = command.description or words.get(name)
            command.allow_abbrev = False
            lines = "".join(f"  {line}\n" for line in examples.get(name, "").splitlines())
            command.epilog = f"examples:\n{lines}{CODES}"
            volume = command.add_mutually_exclusive_group()
            volume.add_argument("-q", "--quiet", action="store_true", help="say nothing but errors on stderr")
            volume.add_argument("-v", "--verbose", action="store_true", help="say more on stderr: what was read, how long it took")
        return self


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
    `prefix`; a fault of ours shows where it happened. A command whose default `logs` is true heeds `quiet` itself.
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
        with _hushed(options.quiet and not getattr(options, "logs", False)), _timed(f"{prefix}{options.command}", verbose):
            code = act(options)
            sys.stdout.flush()
            return code
    except BalanceError as error:
        if verbose and error.__cause__:
            _trace(error.__cause__)
        for problem in error.problems:
            _say(f"{paint(prefix, 'error', sys.stderr)}{problem}")
        return WRONG_USE
    except KeyboardInterrupt:
        _say(f"{prefix}interrupted")
        return INTERRUPTED
    except BrokenPipeError:  # whoever read our output has seen enough
        silence(sys.stdout)
        return READER_GONE
    except OSError as error:
        if not (isinstance(error.filename, (str, bytes, os.PathLike)) or error.errno in _FULL):
            return _our_fault(error, parser.prog)
        if error.filename:
            _say(f"{prefix}{os.fsdecode(error.filename)}: {error.strerror} (check the path)")
        else:
            silence(sys.stdout)
            _say(f"{prefix}standard output: {error.strerror} (free some space, or write elsewhere)")
        return WRONG_USE
    except Exception as error:  # noqa: BLE001 (told whole)
        return _our_fault(error, parser.prog)


def _our_fault(error: Exception, program: str) -> int:
    """Not exit code 1, as Python has it: that would say that there are findings."""
    _trace(error)
    _say(f"{program}: this is a fault of {program}, not yours: please report it with the lines above")
    return OUR_FAULT


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
