"""A batch of an entity's operations on its way to a worker and back."""

from __future__ import annotations

from typing import Any

import pytest

from perdure.history.events import TurnAnswered
from perdure.history.work import Batch
from perdure.remote.dispatch.batch import BatchWork
from perdure.remote.dispatch.dispatcher import Dispatcher
from perdure.remote.dispatch.stream import WorkerStream
from perdure.remote.requests import OpenStream
from perdure.remote.wire.codec import MICROSOFT


def test_an_answer_by_way_of_another_node_that_cannot_be_read_leaves_the_batch_to_its_lease(
    caplog: pytest.LogCaptureFixture,
) -> None:
    done: list[Any] = []
    dispatcher = Dispatcher(lambda: 0.0, lambda: "token1", lambda app, is_ready: None)
    dispatcher.connect(WorkerStream("shop", MICROSOFT, OpenStream()))
    batch = BatchWork(Batch("shop", "@counter@a", "counter", "e1", ()), done.append, dispatcher)
    dispatcher.submit(batch)
    batch.answer(TurnAnswered(token=batch.token, answer=b"\xff\xff"))
    assert (done, dispatcher.is_out) == ([], True)
    assert "the answer to a batch of @counter@a cannot be read, so its lease decides" in caplog.text
