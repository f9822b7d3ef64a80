"""How commands end: status and one line on the error stream."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from isofield.runtime.atomic_files import WriteError
from isofield.runtime.commandline import DONE, ERROR, INTERRUPTED, SOME_FAILED, TERMINATED, Parser, page_at, run, say
from tests.conftest import ROOT


def ending(main, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    with pytest.raises(SystemExit) as caught:
        run(main)
    assert isinstance(caught.value.code, int)
    return caught.value.code, capsys.readouterr().err


def raising(error: BaseException):
    def main() -> int:
        raise error

    return main


def test_the_contract_of_statuses():
    assert (DONE, ERROR, SOME_FAILED, INTERRUPTED, TERMINATED) == (0, 1, 2, 130, 143)


@pytest.mark.parametrize("status", [DONE, SOME_FAILED])
def test_what_main_returns_is_the_status(status: int, capsys: pytest.CaptureFixture[str]):
    assert ending(lambda: status, capsys) == (status, "")


@pytest.mark.parametrize("error", [ValueError("bad"), FileNotFoundError("bad"), OSError("bad")])
def test_the_users_errors_are_one_line(error: Exception, capsys: pytest.CaptureFixture[str]):
    assert ending(raising(error), capsys) == (ERROR, "error: bad\n")


@pytest.mark.parametrize("error", [AssertionError(), RuntimeError("sizes of tensors do not match")])
def test_an_error_of_ours_keeps_its_traceback(error: Exception):
    with pytest.raises(type(error)):
        run(raising(error))


def test_a_machine_that_cannot_is_one_line_with_a_way_out(capsys: pytest.CaptureFixture[str]):
    status, text = ending(lambda: len(torch.empty(1 << 50)), capsys)  # torch's own error, not one made here
    assert status == ERROR and text.startswith("error: there is not memory enough") and text.count("\n") == 1
    assert "smaller batch" in text and "What is finished is kept" in text and "alloc" not in text
    status, text = ending(lambda: len(np.empty(1 << 50)), capsys)
    assert status == ERROR and text.startswith("error: there is not memory enough")
    for said, told in (
        (
            "CUDA error: no kernel image is available for execution on the device\nCompile with",
            "install a build for it",
        ),
        ("CUDA error: an illegal memory access was encountered", "run the same command again"),
        ("CUDA out of memory. Tried to allocate 20.00 MiB", "not memory enough"),
    ):
        status, text = ending(raising(RuntimeError(said)), capsys)
        assert status == ERROR and told in text and text.count("\n") == 1 and said[:15] not in text


def test_the_traceback_on_demand(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ISOFIELD_TRACEBACK", "1")
    status, text = ending(raising(ValueError("bad")), capsys)
    assert status == ERROR and "Traceback" in text and text.endswith("error: bad\n")


def test_an_interrupt_says_how_to_go_on(capsys: pytest.CaptureFixture[str]):
    status, text = ending(raising(KeyboardInterrupt()), capsys)
    assert status == INTERRUPTED and "run the same command again" in text


def test_sigterm_ends_a_command_tidily_however_often_it_comes(capsys: pytest.CaptureFixture[str]):
    tidied = []

    def main() -> int:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)  # a launcher's second one
            tidied.append(True)
        return DONE

    before = signal.getsignal(signal.SIGTERM)
    try:
        status, text = ending(main, capsys)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert (status, tidied) == (TERMINATED, [True])
    assert text == "terminated; run the same command again to continue\n"
    assert ending(lambda: DONE, capsys) == (DONE, "") and signal.getsignal(signal.SIGTERM) is before


def test_what_cannot_be_written_says_how_to_go_on(capsys: pytest.CaptureFixture[str]):
    status, text = ending(raising(WriteError(28, "No space left on device", "runs/a/last.pt")), capsys)
    assert status == ERROR and len(text.splitlines()) == 1
    assert "runs/a/last.pt: No space left on device. What is finished is kept: when the cause is gone" in text


def test_wrong_usage_is_an_error_not_failed_shapes(capsys: pytest.CaptureFixture[str]):
    parser = Parser(prog="thing")
    parser.add_argument("--run", required=True)
    for arguments in ([], ["--run", "a", "--rnu", "b"]):
        with pytest.raises(SystemExit) as caught:
            parser.parse_args(arguments)
        text = capsys.readouterr().err
        assert caught.value.code == ERROR and "usage: thing" in text and "--r" in text


def test_help_is_no_error(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as caught:
        Parser(prog="thing").parse_args(["--help"])
    assert caught.value.code == DONE and "usage: thing" in capsys.readouterr().out


def test_a_line_is_out_at_once_even_into_a_pipe():
    command = "import os; from isofield.runtime.commandline import say; say('now'); os._exit(0)"  # nothing is flushed
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        [sys.executable, "-c", command], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "now" + os.linesep


def test_say_ends_the_line(capsys: pytest.CaptureFixture[str]):
    say("one")
    say("two")
    assert capsys.readouterr().out == "one\ntwo\n"


@pytest.mark.parametrize(
    ("out", "page"),
    [(None, "runs/a/curves.html"), ("p.html", "p.html"), ("p.HTM", "p.HTM"), ("new", "new/curves.html"),
     ("is.html", "is.html/curves.html"), ("v0.2", "v0.2/curves.html")],
)  # fmt: skip
def test_a_page_has_the_ending_that_opens_it(out: str | None, page: str, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("is.html").mkdir()
    assert page_at(None if out is None else Path(out), Path("runs/a/curves.html")) == Path(page)
