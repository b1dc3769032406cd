"""Exceptions to failures and back."""

from __future__ import annotations

import pytest

from perdure.errors import ActivityFailed, ActivityTimedOut, ApplicationError, RemoteError
from perdure.history.events import Failure
from perdure.sdk.failures import (
    CAUSES_MAX,
    MESSAGE_CHARACTERS_MAX,
    activity_error,
    child_error,
    to_exception,
    to_failure,
    type_of,
)


def caught(error: BaseException) -> BaseException:
    """The error as it is after it was raised."""
    try:
        raise error
    except BaseException as raised:  # noqa: BLE001 whatever was raised
        return raised


def test_type_message_and_stack_are_text():
    failure = to_failure(caught(ValueError("no")))
    assert (failure.type, failure.message, failure.non_retryable) == ("ValueError", "no", False)
    assert failure.stack is not None
    assert "in caught" in failure.stack


def test_causes_and_contexts_are_followed():
    try:
        try:
            raise KeyError("a")
        except KeyError:
            raise ValueError("b")  # noqa: B904 a context and no cause
    except ValueError as error:
        failure = to_failure(error)
    assert failure.cause is not None
    assert failure.cause.type == "KeyError"


def test_a_context_that_was_suppressed_is_not_told():
    def fail() -> None:
        try:
            raise KeyError("a")
        except KeyError:
            raise ValueError("b") from None

    with pytest.raises(ValueError, match="b") as raised:
        fail()
    assert to_failure(raised.value).cause is None


def test_chains_and_messages_are_bounded():
    error: BaseException = ValueError("x" * 100_000)
    for number in range(100):
        outer = ValueError(f"{number}" + "x" * 100_000)
        outer.__cause__ = error
        error = outer
    failure, depth = to_failure(error), 0
    while failure.cause is not None:
        failure, depth = failure.cause, depth + 1
    assert depth == CAUSES_MAX
    assert len(failure.message) == MESSAGE_CHARACTERS_MAX


def test_an_error_that_causes_itself_ends():
    error = ValueError("snake")
    error.__cause__ = error
    assert to_failure(error).cause is not None


def test_a_group_is_told_with_its_first_member():
    failure = to_failure(ExceptionGroup("two", [KeyError("a"), ValueError("b")]))
    assert failure.type == "ExceptionGroup"
    assert failure.cause is not None
    assert failure.cause.type == "KeyError"


@pytest.mark.parametrize("kind", [RuntimeError, SystemExit])
def test_an_error_whose_text_cannot_be_made_is_still_told(kind):
    class Rude(Exception):
        def __str__(self) -> str:
            raise kind("no text for you")

    assert to_failure(Rude()).type == "Rude"


def test_half_surrogates_in_a_message_can_be_stored():
    from perdure.history.events import ActivityFailed as Event
    from perdure.history.events import decode_event, encode_event

    event = Event(number=1, failure=to_failure(ValueError("half \ud800")))
    assert decode_event(encode_event(event)).failure.type == "ValueError"


def test_application_errors_carry_their_own_type_and_finality():
    failure = to_failure(ApplicationError("no", type="CardRefused", retryable=False))
    assert (failure.type, failure.message, failure.non_retryable) == ("CardRefused", "no", True)


def test_a_failure_that_crosses_twice_stays_what_it_was():
    first = Failure("ValueError", "no", "  File x", Failure("OSError", "disk"))
    again = to_failure(to_exception(first))
    assert (again.type, again.message, again.stack) == ("ValueError", "no", "  File x")
    assert again.cause is not None
    assert (again.cause.type, again.cause.message) == ("OSError", "disk")
    assert type_of(RemoteError("T", "m")) == "T"


@pytest.mark.parametrize("timed_out, kind", [(True, ActivityTimedOut), (False, ActivityFailed)])
def test_an_activity_s_error_says_which_attempt_and_why(timed_out, kind):
    error = activity_error("charge", Failure("ValueError", "no"), 3, timed_out)
    assert type(error) is kind
    assert (error.type, error.attempt) == ("ValueError", 3)
    assert "charge" in str(error)
    assert isinstance(error.__cause__, RemoteError)


def test_a_child_s_error_names_the_instance():
    error = child_error("ship", "order-1:2", Failure("ValueError", "no"))
    assert (error.instance_id, error.type) == ("order-1:2", "ValueError")
