"""The tree of errors."""

from __future__ import annotations

import pytest

from perdure import errors


def test_every_message_ends_with_its_code():
    assert str(errors.InvalidArgument("give 1")) == "give 1 [PERDURE-1001]"
    assert str(errors.InstanceNotFound("no instance 'x'", "x")).endswith("[PERDURE-1201]")


def test_an_error_of_an_instance_names_it():
    assert errors.InstanceExists("taken", "order-1").instance_id == "order-1"


@pytest.mark.parametrize(
    "kind, builtin",
    [
        (errors.InvalidArgument, ValueError),
        (errors.NotEncodable, TypeError),
        (errors.NotDecodable, ValueError),
        (errors.InstanceNotFound, LookupError),
        (errors.ActivityTimedOut, TimeoutError),
    ],
)
def test_errors_are_what_python_programs_expect_too(kind, builtin):
    assert issubclass(kind, builtin)
    assert issubclass(kind, errors.PerdureError)


def test_an_error_of_the_other_side_reads_as_it_did_there():
    assert str(errors.RemoteError("ValueError", "no", "  File x")) == "ValueError: no\n  File x"
    assert str(errors.RemoteError("ValueError", "no")) == "ValueError: no"


def test_codes_are_grouped_by_family():
    families = {
        errors.UsageError: "PERDURE-10",
        errors.InstanceError: "PERDURE-12",
        errors.OutcomeError: "PERDURE-13",
        errors.StoreError: "PERDURE-14",
        errors.Stalled: "PERDURE-15",
        errors.ServerError: "PERDURE-17",
    }
    for family, prefix in families.items():
        members = family.__subclasses__()
        assert members
        assert all(member.code.startswith(prefix) for member in members)
