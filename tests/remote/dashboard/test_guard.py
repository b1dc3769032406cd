"""Sessions, tokens, names of hosts and origins of forms, each decided without I/O."""

import pytest

from perdure.errors import InvalidArgument
from perdure.remote.dashboard.guard import Policy, is_our_form
from perdure.remote.dashboard.seal import SESSION_SECONDS, Seal, Session
from perdure.remote.security import Token
from perdure.sdk.role import Role, role_named

SESSION = Session("a" * 32, Role.READ, 1_000)


def test_a_session_ends_in_time_and_with_the_process():
    seal = Seal(b"secret")
    cookie = seal.cookie(SESSION)
    assert seal.session(cookie, 999) == SESSION
    assert seal.session(cookie, 1_000) is None
    assert Seal(b"another secret").session(cookie, 999) is None
    assert SESSION_SECONDS == 12 * 3_600


@pytest.mark.parametrize(
    "change",
    [
        lambda cookie: cookie.replace(".1.", ".3."),
        lambda cookie: cookie.replace(".1000.", ".9999."),
        lambda cookie: "b" + cookie[1:],
        lambda cookie: cookie[:-1],
        lambda cookie: cookie + ".",
        lambda cookie: "",
        lambda cookie: "...",
        lambda cookie: "é" * 10,
        lambda cookie: cookie * 100,
    ],
)
def test_a_cookie_that_was_changed_is_none(change):
    seal = Seal(b"secret")
    assert seal.session(change(seal.cookie(SESSION)), 1) is None


def test_a_form_is_of_one_session():
    seal, other = Seal(b"secret"), Session("b" * 32, Role.READ, 1_000)
    assert seal.is_form_token(SESSION, seal.form_token(SESSION))
    assert not seal.is_form_token(other, seal.form_token(SESSION))
    assert not seal.is_form_token(SESSION, "")
    assert not seal.is_form_token(SESSION, "é")
    signature = seal.cookie(SESSION).rpartition(".")[2]
    assert not seal.is_form_token(SESSION, signature), "a cookie is no form token"


def test_a_token_opens_its_role_and_no_more_than_the_dashboard_allows():
    tokens = ((Token("admins"), Role.ADMIN), (Token("readers"), Role.READ))
    policy = Policy(tokens=tokens)
    assert [policy.role_of(text) for text in ("admins", "readers", "admin", "", "é", "\udcff")] == [
        Role.ADMIN, Role.READ, None, None, None, None,
    ]  # fmt: skip
    assert Policy(tokens=tokens, role=Role.OPERATE).role_of("admins") is Role.OPERATE


@pytest.mark.parametrize(
    "headers, ours",
    [
        ({}, True),
        ({"origin": "http://localhost:1"}, True),
        ({"origin": "https://localhost:1"}, True),
        ({"origin": "http://localhost:2"}, False),
        ({"origin": "null"}, False),
        ({"origin": "http://localhost:1", "sec-fetch-site": "same-origin"}, True),
        ({"sec-fetch-site": "none"}, True),
        ({"sec-fetch-site": "same-site"}, False),
        ({"origin": "http://localhost:1", "sec-fetch-site": "cross-site"}, False),
    ],
)
def test_a_form_is_ours_as_far_as_the_browser_says(headers, ours):
    assert is_our_form({"host": "localhost:1", **headers}, "http") is ours


def test_a_page_without_tls_sends_nothing_to_one_with_it():
    assert not is_our_form({"host": "localhost:1", "origin": "http://localhost:1"}, "https")


def test_roles_have_words():
    assert [role_named(role.word) for role in Role] == list(Role)
    with pytest.raises(InvalidArgument, match="read, operate, admin"):
        role_named("owner")
