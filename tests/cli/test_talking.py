"""Commands that talk to the code of a workflow."""

import pytest


@pytest.mark.long
def test_an_update_is_answered_and_its_state_read_without_a_worker(shell):
    with shell.worker():
        shell.begin("basket", id="b")
        assert shell.json("query", "b")["state"] is None
        assert shell.text("update", "b", "add", '"apple"') == "1\n"
        assert shell.json("update", "b", "add", '"pear"', "--id", "k") == {
            "id": "b",
            "command": "update",
            "update": "add",
            "answer": 2,
        }
        assert shell.json("update", "b", "add", '"pear"', "--id", "k")["answer"] == 2
        assert "LookupError" in shell.error("update", "b", "add", '"unknown"', code=1)
        assert "no answer within 0.2s" in shell.error("update", "b", "nobody", "--timeout", "0.2s", code=1)
    assert shell.json("query", "b")["state"] == {"items": ["apple", "pear"]}
    assert shell.text("query", "b", "other") == "null\n"
    assert "PERDURE-1201" in shell.error("query", "nobody", code=2)
    assert "PERDURE-1001" in shell.error("update", "b", "add", "text", code=2)
