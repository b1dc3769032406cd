"""Lines: what they tell, and what they never tell."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import Any

import pytest

from perdure import Secret, setup_logging
from perdure.errors import InvalidArgument
from perdure.telemetry.logs import JsonLines, TextLines


@dataclass
class Login:
    user: str
    password: Secret[str]


def record(message: str, *args: Any, **extra: Any) -> logging.LogRecord:
    made = logging.LogRecord("shop", logging.INFO, __file__, 7, message, args, None)
    vars(made).update(extra)
    return made


def read(made: logging.LogRecord) -> dict[str, Any]:
    line = JsonLines().format(made)
    assert "\n" not in line
    return json.loads(line)


def test_the_message_with_colours_of_other_libraries_is_left_out():
    assert "color_message" not in read(record("up", color_message="\x1b[36mup\x1b[0m"))
    assert "\x1b" not in TextLines().format(record("up", color_message="\x1b[36mup\x1b[0m"))


def test_json_tells_time_level_logger_message_and_what_was_given():
    told = read(record("paid %d", 7, instance="i", app="shop", colour="red"))
    assert told.pop("at").endswith("+00:00")
    assert told == {
        "level": "info", "logger": "shop", "message": "paid 7", "app": "shop", "instance": "i", "colour": "red",
    }  # fmt: skip
    assert list(told)[3:] == ["app", "instance", "colour"]


def test_text_tells_the_same():
    line = TextLines().format(record("paid %d", 7, instance="i", app="shop", colour="red"))
    assert line.endswith(" INFO shop: paid 7 app=shop instance=i colour=red")


def test_an_error_comes_with_its_stack():
    try:
        raise KeyError("gone")
    except KeyError as error:
        made = record("it failed")
        made.exc_info = (KeyError, error, error.__traceback__)
    told = read(made)["error"]
    assert (told["type"], told["message"]) == ("KeyError", "'gone'")
    assert "test_logs.py" in told["stack"]
    assert TextLines().format(made).splitlines()[-1] == "KeyError: 'gone'"


@pytest.mark.parametrize("lines", [JsonLines(), TextLines()])
@pytest.mark.parametrize(
    "made",
    [
        record("%s", Secret("hunter2")),
        record("%r", Login("ada", Secret("hunter2"))),
        record("it", login=Login("ada", Secret("hunter2"))),
        record("it", parts=[{"of": Secret("hunter2")}]),
        record("stored: %s", '{"user":"ada","password":{"perdure:secret":"hunter2"}}'),
        record("stored: %s", {"password": {"perdure:secret": "hunter2"}}),
        record("stored: %s", {"password": {"perdure:secret": "hun}t\"er2"}}),
        record("stored: %s", '{"password":{"perdure:secret":"hun}t\\"er2"}}'),
        record("stored: %s", json.dumps('{"password":{"perdure:secret":"hunter2"}}')),
        record("it", given={"perdure:secret": "hunter2"}),
    ],
)  # fmt: skip
def test_a_secret_is_three_asterisks(lines, made):
    line = lines.format(made)
    assert "er2" not in line
    assert "***" in line


def test_a_value_that_cannot_be_written_is_told_as_text():
    class Odd:
        def __str__(self) -> str:
            return "odd"

    told = read(record("it", odd=Odd(), keys={(1, 2): 3}))
    assert told["odd"] == "odd"
    assert told["message"] == "it"
    assert "(1, 2)" in told["keys"]


def test_another_format_is_refused():
    with pytest.raises(InvalidArgument, match="console, json"):
        setup_logging("xml")  # type: ignore[arg-type]
