"""The program around the commands: exit codes, help, suggestions, and what happens when we fail."""

from __future__ import annotations

import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from resdsl.cli import main as program


@pytest.fixture
def as_check(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], int]], None]:
    """Put a function in the place of the command `check`."""

    def install(behaviour: Callable[[], int]) -> None:
        module = types.ModuleType("resdsl.cli.check")
        module.configure = lambda parser: parser.add_argument("specs", nargs="*")  # type: ignore[attr-defined]
        module.run = lambda args: behaviour()  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "resdsl.cli.check", module)

    return install


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["--color", "never", "--help"], ["--version"]])
def test_help_and_version_succeed(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(arguments) == 0
    assert capsys.readouterr().err == ""


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    program.main(["--help"])
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in program.COMMANDS)
    assert shown.startswith("Usage: resdsl")
    assert all(len(line) <= 100 for line in shown.splitlines())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["chekc"], "error: there is no command 'chekc'; did you mean 'check'?"),
        (["CHECK"], "error: there is no command 'CHECK'; did you mean 'check'?"),
        (["frobnicate"], "error: there is no command 'frobnicate'"),
        (["--colour", "never", "check"], "error: unexpected option '--colour'; did you mean '--color'?"),
        (["--color", "blue", "check"], "error: argument --color: invalid choice: 'blue'"),
        (["check", "--clor"], "error: unexpected option '--clor'; did you mean '--color'?"),
    ],
)
def test_wrong_usage(
    arguments: list[str],
    message: str,
    as_check: Callable[[Callable[[], int]], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    as_check(lambda: 0)
    assert program.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(message)


def test_no_command_shows_help_as_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main([]) == 2
    assert "Commands:" in capsys.readouterr().err


@pytest.mark.parametrize("code", [0, 1])
def test_a_command_decides_the_exit_code(code: int, as_check: Callable[[Callable[[], int]], None]) -> None:
    as_check(lambda: code)
    assert program.main(["--color", "never", "check", "some.res", "--color=always"]) == code


def _raise(error: BaseException) -> Callable[[], int]:
    def behaviour() -> int:
        raise error

    return behaviour


@pytest.mark.parametrize("error", [ValueError("\udcff"), RecursionError("deep"), AssertionError()])
def test_a_bug_is_called_ours(
    error: Exception,
    as_check: Callable[[Callable[[], int]], None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.delenv("RESDSL_TRACEBACK", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    as_check(_raise(error))
    assert program.main(["check"]) == 3
    shown = capsys.readouterr().err
    assert shown.startswith(f"error: internal error: {type(error).__name__}\nThis is a bug of resdsl")
    (file,) = tmp_path.iterdir()
    assert str(file) in shown
    assert "Traceback" not in shown
    assert "Traceback" in file.read_text(encoding="utf-8")


def test_a_traceback_on_request(
    as_check: Callable[[Callable[[], int]], None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RESDSL_TRACEBACK", "1")
    as_check(_raise(KeyError("stage")))
    assert program.main(["check"]) == 3
    assert "Traceback" in capsys.readouterr().err


def test_an_interrupt_is_no_bug(
    as_check: Callable[[Callable[[], int]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    as_check(_raise(KeyboardInterrupt()))
    assert program.main(["check"]) == 130
    assert "bug" not in capsys.readouterr().err


def test_an_unreadable_file_is_the_users_mistake(
    as_check: Callable[[Callable[[], int]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    as_check(_raise(PermissionError(13, "Permission denied", "nets/a.res")))
    assert program.main(["check"]) == 1
    assert capsys.readouterr().err == "error: nets/a.res: Permission denied\n"


def test_a_closed_pipe_is_quiet() -> None:
    code = (
        "import sys, types\n"
        "command = types.ModuleType('resdsl.cli.check')\n"
        "command.configure = lambda parser: None\n"
        "command.run = lambda args: [args.console.print('x' * 80) for _ in range(10000)] and 0\n"
        "sys.modules['resdsl.cli.check'] = command\n"
        "from resdsl.cli.main import main\n"
        "sys.exit(main(['check']))\n"
    )
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=30) == 141


def test_usage_is_colored_by_the_stream_it_goes_to(capsys: pytest.CaptureFixture[str]) -> None:
    program.main(["--color", "always", "frobnicate"])
    assert capsys.readouterr().err.startswith(
        "\x1b[1;31merror\x1b[0m: there is no command 'frobnicate'\n\x1b[1;36mUsage:\x1b[0m resdsl"
    )
    program.main(["--color", "never", "frobnicate"])
    assert "\x1b" not in capsys.readouterr().err
