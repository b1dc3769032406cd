"""The commands about topics."""

import pytest


@pytest.mark.long
def test_a_message_is_published_shown_and_a_group_forgotten(shell):
    with shell.worker():
        assert "There is no topic" in shell.error("topics", code=0)
        told = shell.json("publish", "orders", '{"id": 1}', "--key", "a", "--id", "e1", "--ttl", "1h")
        assert told == {"topic": "orders", "id": "e1"}
        assert "published e1 to orders" in shell.error(
            "publish", "orders", '{"id": 1}', "--key", "a", "--id", "e1", code=0
        )
        while shell.lines("topics")[0]["published"] != 1:
            pass
        (state,) = shell.lines("topics")
        assert (state["name"], state["groups"]) == ("orders", [])
        assert "nobody subscribes" in shell.text("topics", "orders")
        assert "There is no topic other" in shell.error("topics", "other", code=0)
        assert shell.lines("topics", "orders", "--forget", "g")[0]["name"] == "orders"
    assert "name its topic too" in shell.error("topics", "--forget", "g", code=2)
    assert "is not JSON" in shell.error("publish", "orders", "{", code=2)
