"""All commands of both command lines: help with examples, suggestions, exit codes, completion, output on a terminal."""

from __future__ import annotations

import os
import pty
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from balance import commandline
from balance.commandline import Parser
from balance.commands import cli as gen
from balance.lb import cli as lb

LINES: dict[str, tuple[Callable[[], Parser], Callable[[list[str]], int]]] = {
    "balance": (lb.command_line, lb.main),
    "balance-gen": (gen.command_line, gen.main),
}
COMMANDS = [(program, name) for program, (parser, _) in LINES.items() for name in parser().commands]
MODULES = {"balance": "balance.lb.cli", "balance-gen": "balance.commands.cli"}


def asked(program: str, *arguments: str) -> int:
    """The exit code."""
    try:
        return LINES[program][1](list(arguments))
    except SystemExit as stop:
        return int(stop.code or 0)


def started(program: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", MODULES[program], *arguments]


@pytest.fixture(autouse=True)
def in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    path = list(sys.path)
    yield
    sys.path[:] = path


@pytest.mark.parametrize(("program", "name"), COMMANDS)
def test_help_has_valid_examples(program: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert asked(program, name, "--help") == 0
    told = capsys.readouterr().out
    listed, _, codes = told.partition("\nexamples:\n")[2].partition("\nexit codes: ")
    assert "130 interrupted" in codes
    examples = listed.splitlines()
    assert examples, f"give {name} examples in its Command"
    for example in examples:
        words = [word for word in shlex.split(example.partition(" > ")[0]) if not re.match(r"[A-Z_]+=", word)]
        assert words[:2] == [program, name]
        assert LINES[program][0]().parse_args(words[1:]).command == name
    assert re.search(r"^  -q, --quiet +", told, re.MULTILINE)
    assert re.search(r"^  -v, --verbose +", told, re.MULTILINE)
    assert re.search(r"^usage: .*?\n\n\w", told, re.DOTALL), "a sentence under the usage"


@pytest.mark.parametrize(("program", "name"), COMMANDS)
def test_misspelt_command_suggests_the_nearest(program: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert asked(program, name + "x") == 2
    assert f"did you mean {name!r}?" in capsys.readouterr().err


@pytest.mark.parametrize(("program", "name"), COMMANDS)
def test_misspelt_option_suggests_the_nearest(program: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = LINES[program][0]().commands[name]
    example = (command.epilog or "").splitlines()[1].partition(" > ")[0]
    words = [word for word in shlex.split(example) if not re.match(r"[A-Z_]+=", word)][1:]
    for option in command.long_options:
        assert asked(program, *words, f"{option}x=1") == 2
        printed = capsys.readouterr()
        assert f"unrecognized arguments: {option}x=1 (did you mean {option!r}?)" in printed.err
        assert printed.err.count("\n") == 1
        assert printed.out == ""


@pytest.mark.parametrize(("program", "name"), COMMANDS)
def test_options_cannot_be_abbreviated(program: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert asked(program, name, "--verb") == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.process
@pytest.mark.parametrize(
    ("program", "arguments"),
    [
        *(("balance-gen", words) for words in ("catalog", "dashboards --list", "lint --format json", "settings", "explain", "--completion bash")),
        *(("balance", words) for words in ("schema", "--completion bash")),
        *((program, "--help") for program in LINES),
    ],
)
def test_closed_stdout_prints_no_traceback(program: str, arguments: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    run = subprocess.run(started(program, *arguments.split()), stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert run.stderr == ""
    assert run.returncode == commandline.EXIT_PIPE or (run.returncode == 0 and arguments == "--help"), "argparse may not mind"


@pytest.mark.process
def test_closed_stderr_keeps_the_exit_code() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    run = subprocess.run(started("balance-gen", "alerts", "--set", "x=1"), stdout=subprocess.PIPE, stderr=writer, check=False)
    os.close(writer)
    assert (run.returncode, run.stdout) == (2, b"")


@pytest.mark.process
def test_closed_stderr_does_not_mix_into_stdout() -> None:
    run = subprocess.run(f"{shlex.join(started('balance-gen', 'write'))} 2>&-", shell=True, stdout=subprocess.PIPE, check=False)
    assert (run.returncode, run.stdout) == (0, b"")


SLOW = "import pathlib, time\npathlib.Path('begun').touch()\ntime.sleep(60)\n"


@pytest.mark.process
def test_interrupt_prints_one_line_and_exits_130(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    process = subprocess.Popen(
        started("balance-gen", "rules", "--source", "slow:bundle"), stderr=subprocess.PIPE, text=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    end = time.monotonic() + 30
    while not (tmp_path / "begun").exists() and time.monotonic() < end:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30)[1] == "balance-gen: interrupted\n"
    assert process.returncode == 130


def test_internal_error_shows_traceback_and_exits_70(capsys: pytest.CaptureFixture[str]) -> None:
    def act(_: object) -> int:
        raise ZeroDivisionError

    assert commandline.run_command(gen.command_line(), ["catalog"], act) == commandline.EXIT_INTERNAL
    told = capsys.readouterr().err
    assert "ZeroDivisionError" in told
    assert told.endswith("balance-gen: internal error: please report it with the lines above\n")


def test_unreadable_file_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert commandline.run_command(gen.command_line(), ["catalog"], lambda _: len(Path("nope").read_text()), "balance-gen: ") == 2
    assert capsys.readouterr().err == "balance-gen: nope: No such file or directory (check the path)\n"


def test_quiet_prints_only_errors(capsys: pytest.CaptureFixture[str]) -> None:
    assert asked("balance-gen", "write") == 0
    assert "created generated/" in capsys.readouterr().err
    assert asked("balance-gen", "write", "--quiet", "--set", "job=edge") == 0
    assert asked("balance-gen", "check", "-q") == 1
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "-job: edge" not in printed.out
    assert asked("balance-gen", "write", "--quiet", "--set", "jobb=edge") == 2
    assert "--set: jobb: unknown setting (did you mean 'job'?)" in capsys.readouterr().err


def test_verbose_prints_what_was_read_and_the_time(capsys: pytest.CaptureFixture[str]) -> None:
    assert asked("balance-gen", "catalog") == 0
    quiet = capsys.readouterr()
    assert asked("balance-gen", "catalog", "--verbose") == 0
    printed = capsys.readouterr()
    assert (printed.out, quiet.err) == (quiet.out, "")
    assert re.fullmatch(
        r"balance-gen: catalog balance: \d+ metrics, \d+ alerts, \d+ dashboards; job balance, settings of no file\n"
        r"balance-gen: catalog: took \d+\.\d\d s\n",
        printed.err,
    )


def test_verbose_shows_where_a_source_failed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "failing.py").write_text("def within():\n    return nothing\n\nbundle = within()\n")
    assert asked("balance-gen", "alerts", "--source", "failing:bundle", "--verbose") == 2
    told = capsys.readouterr().err
    assert told.index('failing.py", line 4, in <module>') < told.index("balance-gen: source failing:bundle")


@pytest.mark.process
@pytest.mark.parametrize(("option", "expected"), [("--quiet", False), ("--verbose", True)])
def test_quiet_and_verbose_set_the_log_level(tmp_path: Path, option: str, expected: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = f"listen: 127.0.0.1:0\nadmin: {{listen: '127.0.0.1:{port}'}}\nbackends: [{{name: a, address: '127.0.0.1:1'}}]\nhealth_check: off\n"
    (tmp_path / "balance.yaml").write_text(config)
    process = subprocess.Popen(started("balance", "serve", "-c", "balance.yaml", option), stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5):
            break
        time.sleep(0.1)
    process.terminate()
    assert ('"event":"started"' in process.communicate(timeout=60)[1]) is expected
    assert process.returncode == 0


def on_terminal(arguments: list[str], environment: dict[str, str]) -> str:
    """The output of a program on a pseudo-terminal."""
    parent, child = pty.openpty()
    process = subprocess.Popen(arguments, stdout=child, stderr=child, env={**os.environ, "TERM": "xterm", "NO_COLOR": "", **environment})
    os.close(child)
    shown = b""
    while True:
        try:
            piece = os.read(parent, 4096)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        shown += piece
    process.wait(timeout=30)
    os.close(parent)
    return shown.decode()


@pytest.mark.process
@pytest.mark.parametrize(
    ("arguments", "coloured"),
    [
        ("lint --set prometheus.scrape_interval=2m", "\x1b[33m"),
        ("alerts --set x=1", "\x1b[31mbalance-gen: \x1b[0m"),
        ("check --set job=edge", "\x1b[32m+"),
    ],
)
def test_colours_only_on_terminals_without_no_color(arguments: str, coloured: str) -> None:
    command = started("balance-gen", *arguments.split())
    assert coloured in on_terminal(command, {})
    assert "\x1b[3" not in on_terminal(command, {"NO_COLOR": "1"})
    assert "\x1b[3" not in on_terminal(command, {"TERM": "dumb"})
    run = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "TERM": "xterm", "NO_COLOR": ""})
    assert "\x1b" not in run.stdout + run.stderr


LONG = """
import sys, time
from balance.commandline import progress
for _ in progress(["one", "two", "three"], str, 3):
    time.sleep({seconds})
print("done")
"""


@pytest.mark.process
def test_progress_on_a_terminal_after_one_second() -> None:
    shown = on_terminal([sys.executable, "-c", LONG.format(seconds=0.7)], {})
    assert "] 1/3 two" in shown
    assert "[################........] 2/3 three" in shown
    assert shown.endswith("\r\x1b[Kdone\r\n")
    assert on_terminal([sys.executable, "-c", LONG.format(seconds=0)], {}) == "done\r\n"
    run = subprocess.run([sys.executable, "-c", LONG.format(seconds=0.4)], capture_output=True, text=True, check=True)
    assert (run.stdout, run.stderr) == ("done\n", "")


COMPLETE = """
source {script}
COMP_WORDS=({words}) COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
{function}
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def completed(program: str, words: list[str], folder: Path) -> set[str]:
    """The completions of bash for the last word."""
    script = folder / f"{program}.bash"
    made = subprocess.run(started(program, "--completion", "bash"), capture_output=True, text=True, check=True).stdout
    script.write_text(made)
    (function,) = re.findall(rf"^complete .*-F (\S+) {program}$", made, re.MULTILINE)
    text = COMPLETE.format(script=script, words=" ".join(shlex.quote(word) for word in (program, *words)), function=function)
    return set(subprocess.run(["bash", "-c", text], capture_output=True, text=True, check=True, cwd=folder).stdout.split())


@pytest.mark.process
@pytest.mark.parametrize("program", LINES)
def test_bash_completes_all_commands_and_their_options(program: str, tmp_path: Path) -> None:
    commands = LINES[program][0]().commands
    assert completed(program, [""], tmp_path) >= set(commands)
    for name, command in commands.items():
        assert completed(program, [name, "--"], tmp_path) == set(command.long_options)


@pytest.mark.process
def test_bash_completes_choices_and_files(tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").touch()
    assert completed("balance-gen", ["rules", "--ruler", "vm"], tmp_path) == {"vmalert", "vmalert-1.79"}
    assert completed("balance-gen", ["rules", "--settings", "set"], tmp_path) == {"settings.yaml"}
    assert completed("balance", ["check-config", "set"], tmp_path) == {"settings.yaml"}


@pytest.mark.parametrize("shell", commandline.SHELLS)
@pytest.mark.parametrize("program", LINES)
def test_completion_for_each_shell(program: str, shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert asked(program, "--completion", shell) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in LINES[program][0]().commands)
