"""Who may call, and for which app."""

import hmac

import pytest

from perdure.errors import InvalidArgument, NotAuthenticated, NotPermitted
from perdure.remote import security
from perdure.remote.security import Grant, Policy, Token, admit

OWN, ALL = Token("own-token"), Token("all-apps-token")
OPEN = Policy(app_id="shop")
CLOSED = Policy(app_id="shop", api_token=OWN)
BOTH = Policy(app_id="shop", api_token=OWN, all_apps_token=ALL)


def app_of(given, policy):
    return admit(given, policy).app


def metadata(**values):
    return [(key.replace("_", "-"), value) for key, value in values.items()]


@pytest.mark.parametrize("policy", [CLOSED, BOTH])
@pytest.mark.parametrize(
    "given",
    [
        [],
        metadata(dapr_api_token=""),
        metadata(dapr_api_token="own-toke"),
        metadata(dapr_api_token="own-token2"),
        metadata(dapr_api_token="OWN-TOKEN"),
        metadata(dapr_api_token="own-token "),
        metadata(dapr_api_token="Bearer own-token"),
        metadata(authorization="own-token"),
        metadata(authorization="Basic own-token"),
        metadata(authorization="Bearer"),
        metadata(other="own-token"),
        metadata(dapr_api_token="öwn"),
        metadata(dapr_api_token="\udcff"),
        metadata(dapr_api_token=b"\xff\xfe"),
    ],
)
def test_a_call_without_the_token_is_refused(policy, given):
    with pytest.raises(NotAuthenticated):
        app_of(given, policy)


@pytest.mark.parametrize(
    "given",
    [
        metadata(dapr_api_token="own-token"),
        metadata(dapr_api_token=b"own-token"),
        [("Dapr-Api-Token", "own-token")],
        metadata(authorization="Bearer own-token"),
        metadata(authorization="bearer  own-token"),
        [("dapr-api-token", "old-token"), ("dapr-api-token", "own-token")],
        metadata(dapr_api_token="wrong", authorization="Bearer own-token"),
        metadata(dapr_api_token="own-token", dapr_app_id="shop"),
        metadata(dapr_api_token="own-token", dapr_app_id=""),
    ],
)
@pytest.mark.parametrize("policy", [CLOSED, BOTH])
def test_a_call_with_the_token_is_for_the_app_of_the_listener(policy, given):
    assert app_of(given, policy) == "shop"


@pytest.mark.parametrize(
    "policy, given",
    [
        (OPEN, metadata(dapr_app_id="billing")),
        (OPEN, metadata(dapr_app_id="billing", dapr_api_token="anything")),
        (CLOSED, metadata(dapr_app_id="billing", dapr_api_token="own-token")),
        (BOTH, metadata(dapr_app_id="billing", dapr_api_token="own-token")),
        (BOTH, metadata(dapr_app_id="Shop", dapr_api_token="own-token")),
    ],
)
def test_another_app_needs_the_token_of_all_apps(policy, given):
    with pytest.raises(NotPermitted, match=r"serves app 'shop'.*does not open '(billing|Shop)'"):
        app_of(given, policy)


@pytest.mark.parametrize("policy", [BOTH, Policy(app_id="shop", all_apps_token=ALL)])
def test_the_token_of_all_apps_opens_the_app_that_is_named_and_else_the_listeners_own(policy):
    assert app_of(metadata(dapr_api_token="all-apps-token", dapr_app_id="billing"), policy) == "billing"
    assert app_of(metadata(authorization="Bearer all-apps-token", dapr_app_id=b"billing"), policy) == "billing"
    assert app_of(metadata(dapr_api_token="all-apps-token"), policy) == "shop"


def test_apps_of_the_same_server_may_be_named_by_whoever_may_call_its_ports():
    beside = Policy(app_id="shop", neighbours=frozenset({"stock"}))
    both = frozenset({"shop", "stock"})
    assert admit([], beside) == Grant("shop", both)
    assert admit(metadata(dapr_app_id="stock"), beside) == Grant("stock", both)
    with pytest.raises(NotPermitted):
        app_of(metadata(dapr_app_id="billing"), beside)
    closed = Policy(app_id="shop", neighbours=frozenset({"stock"}), api_token=OWN)
    assert app_of(metadata(dapr_app_id="stock", dapr_api_token="own-token"), closed) == "stock"
    with pytest.raises(NotAuthenticated):
        app_of(metadata(dapr_app_id="stock"), closed)


def test_a_request_names_an_app_within_the_grant_of_its_caller():
    own, every = Grant("shop", frozenset({"shop", "stock"})), Grant("shop", None)
    assert [own.app_for(name) for name in (None, "", "shop", "stock")] == ["shop", "shop", "shop", "stock"]
    assert every.app_for("billing") == "billing"
    with pytest.raises(NotPermitted, match="does not open 'billing'"):
        own.app_for("billing")
    assert [own.covers(name) for name in ("shop", "stock", "billing")] == [True, True, False]
    assert every.covers("billing")


def test_who_is_not_known_does_not_learn_which_apps_there_are():
    with pytest.raises(NotAuthenticated):
        app_of(metadata(dapr_app_id="billing", dapr_api_token="wrong"), BOTH)


def test_a_call_names_one_app():
    given = [("dapr-app-id", "a"), ("dapr-app-id", "b"), ("dapr-api-token", "all-apps-token")]
    with pytest.raises(InvalidArgument, match="names 2 apps"):
        app_of(given, BOTH)
    with pytest.raises(InvalidArgument, match="printable"):
        app_of(metadata(dapr_app_id="a\n", dapr_api_token="all-apps-token"), BOTH)


def test_tokens_of_one_call_are_bounded():
    wrong = [("dapr-api-token", "wrong")] * security.TOKENS_PRESENTED_MAX
    assert app_of([*wrong[1:], ("dapr-api-token", "own-token")], CLOSED) == "shop"
    with pytest.raises(NotAuthenticated):
        app_of([*wrong, ("dapr-api-token", "own-token")], CLOSED)


@pytest.mark.parametrize("presented", ["own-token", "wrong"])
def test_every_token_is_compared_in_constant_time_whatever_came_before(monkeypatch, presented):
    compared = []

    def compare(one, other):
        compared.append((one, other))
        return hmac.compare_digest(one, other)

    class Watched:
        compare_digest = staticmethod(compare)

    monkeypatch.setattr(security, "hmac", Watched)
    try:
        app_of([("dapr-api-token", presented), ("authorization", "Bearer second")], BOTH)
    except NotAuthenticated:
        assert presented == "wrong"
    given = (presented.encode(), b"second")
    assert compared == [(token, each) for token in (b"all-apps-token", b"own-token") for each in given]


@pytest.mark.parametrize(
    "text", ["", "two words", "tab\t", "line\n", "ümlaut", "x" * (security.TOKEN_CHARACTERS_MAX + 1)]
)
def test_a_token_that_no_header_carries_is_refused_and_not_repeated(text):
    with pytest.raises(InvalidArgument) as refused:
        Token(text)
    assert not text or text not in str(refused.value)


def test_a_token_is_shown_to_nobody_by_accident():
    assert "api_token=Token(***), all_apps_token=None, hosts=None)" in repr(CLOSED)
    assert "own-token" not in f"{OWN} {OWN!r} {[OWN]}"
    assert (Token("a"), hash(Token("a"))) == (Token("a"), hash(Token("a")))
    assert Token("a") not in (Token("b"), "a")
