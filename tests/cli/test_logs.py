"""Lines of several programs on one terminal."""

import io
import logging
import os
import pty
import tty

import pytest

from perdure.cli import logs as module
from perdure.cli.logs import Logs

PATIENCE_SECONDS = 30.0


def passed_on(*chunks: bytes) -> bytes:
    """What is printed of a program `app` that wrote these."""
    out = io.BytesIO()
    reads, writes = os.pipe()
    thread = Logs(["perdure", "app"], out, io.BytesIO()).pass_on("app", reads, is_error=False)
    for chunk in chunks:
        while chunk:
            chunk = chunk[os.write(writes, chunk) :]
    os.close(writes)
    thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive()
    return out.getvalue()


@pytest.mark.parametrize(
    "chunks, printed",
    [
        ((b"one\ntwo\n",), b"app     | one\napp     | two\n"),
        ((b"on", b"e\nt", b"wo"), b"app     | one\napp     | two\n"),
        ((b"\n",), b"app     | \n"),
        ((b"dos\r\n",), b"app     | dos\n"),
        ((b"\xff\x00\n",), b"app     | \xff\x00\n"),
        ((), b""),
    ],
)
def test_lines_go_under_the_name_of_their_program(chunks, printed):
    assert passed_on(*chunks) == printed


def test_a_line_without_end_is_passed_on_in_parts():
    length = module.LINE_BYTES_MAX * 2 + 10
    *whole, last, nothing = passed_on(b"x" * length).split(b"\n")
    assert nothing == b""
    assert [line.removeprefix(b"app     | ") for line in whole] == [b"x" * module.LINE_BYTES_MAX] * 2
    assert last == b"app     | " + b"x" * 10


def test_errors_go_to_standard_error():
    out, err = io.BytesIO(), io.BytesIO()
    reads, writes = os.pipe()
    thread = Logs(["app"], out, err).pass_on("app", reads, is_error=True)
    os.write(writes, b"no\n")
    os.close(writes)
    thread.join(PATIENCE_SECONDS)
    assert (out.getvalue(), err.getvalue()) == (b"", b"app | no\n")


def test_a_reader_that_has_gone_away_does_not_hold_up_the_program():
    gone, terminal = os.pipe()
    os.close(gone)
    with os.fdopen(terminal, "wb", buffering=0) as out:
        reads, writes = os.pipe()
        thread = Logs(["app"], out, out).pass_on("app", reads, is_error=False)
        for _ in range(100):
            os.write(writes, b"x" * 10_000 + b"\n")
        os.close(writes)
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive()


@pytest.mark.parametrize(
    "no_color, printed",
    [("", b"\x1b[36mperdure |\x1b[0m hello\n\x1b[33mapp     |\x1b[0m hi\n"), ("1", b"perdure | hello\napp     | hi\n")],
)
def test_a_terminal_gets_colours_unless_it_does_not_want_them(monkeypatch, no_color, printed):
    monkeypatch.setenv("NO_COLOR", no_color)
    leader, follower = pty.openpty()
    tty.setraw(follower)
    with os.fdopen(follower, "wb", buffering=0) as out:
        logs = Logs(["perdure", "app"], out, out)
        logs.line("perdure", "hello")
        logs.line("app", "hi")
        shown = b""
        while len(shown) < len(printed):  # a terminal hands over what has arrived so far
            shown += os.read(leader, 1_000)
    os.close(leader)
    assert shown == printed


def test_what_is_logged_here_goes_under_a_name_line_by_line():
    err = io.BytesIO()
    logger = logging.Logger("perdure.test")
    logger.addHandler(Logs(["perdure"], io.BytesIO(), err).handler("perdure"))
    logger.warning("two\nlines \udcff")
    first, second = err.getvalue().splitlines()
    assert first.startswith(b"perdure | ")
    assert first.endswith(b"WARNING perdure.test: two")
    assert second == b"perdure | lines \\udcff"
