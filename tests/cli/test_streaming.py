"""The command that reads what activities yield."""

import pytest


@pytest.mark.long
def test_a_stream_is_read_while_it_grows_and_with_no_worker_up(shell):
    with shell.worker():
        shell.begin("speech", "to be or", id="s")
        followed = shell.lines("stream", "s", "--name", "words", "--follow")
        assert [line["item"] for line in followed] == ["to", "be", "or"]
        assert followed[2] == {"id": "s", "run": 1, "call": 1, "offset": 3, "item": "or"}
    assert shell.text("stream", "s") == '"to"\n"be"\n"or"\n'
    assert shell.text("stream", "s", "--name", "words", "--after", "2") == '"or"\n'
    assert shell.lines("stream", "s", "--name", "letters")[0]["call"] == 2
    assert shell.text("stream", "s", "--call", "2", "--run", "1") == '"to be or"\n'
    assert shell.text("stream", "s", "--name", "nothing") == ""
    assert "PERDURE-1201" in shell.error("stream", "nobody", code=2)
    assert "--after" in shell.run("stream", "s", "--after", "-1", code=2).stderr
