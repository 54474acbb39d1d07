"""The loop in a thread of its own: nothing is lost, nobody waits for ever, an idle engine uses no processor."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

import pytest

from ramify.backend.engine.messages import Abort, Call, Close, Flush, Inbox, Submit
from ramify.lang.errors import AbortError, BackendError, ClosedError


@pytest.fixture
def looping(make_harness) -> Iterator:
    """A harness whose scheduler runs in a thread; `collected` is notified of every output."""
    harness = make_harness()
    harness.failure = None
    harness.arrived = threading.Condition()

    def emit(outputs) -> None:
        with harness.arrived:
            harness.outputs.extend(outputs)
            harness.arrived.notify_all()

    def loop() -> None:
        try:
            harness.scheduler.event_loop_normal()
        except ZeroDivisionError as error:
            harness.failure = error

    harness.scheduler.emit = emit
    harness.thread = threading.Thread(target=loop)
    harness.thread.start()
    yield harness
    close(harness)


def close(harness) -> None:
    with contextlib.suppress(ClosedError):
        harness.scheduler.inbox.put(Close())
    harness.thread.join(10)
    assert not harness.thread.is_alive()


def wait_for(harness, *reqs) -> None:
    with harness.arrived:
        assert harness.arrived.wait_for(lambda: all(req.is_done for req in reqs), timeout=10)


def test_requests_from_many_threads(looping) -> None:
    reqs = [looping.req([number, 2], 5) for number in range(40)]
    threads = [threading.Thread(target=looping.submit, args=reqs[start::8]) for start in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_for(looping, *reqs)
    looping.expect_oracle(reqs)


def test_close_answers_everything_that_is_open(looping) -> None:
    """A request is running, one waits, and one message is behind Close."""
    gate, entered = threading.Event(), threading.Event()
    running = looping.req([1, 2], 400)
    looping.submit(running)
    blocker = Call(lambda: (entered.set(), gate.wait(10)))
    looping.scheduler.inbox.put(blocker)
    assert entered.wait(10)
    late, call = looping.req([3], 4), Call(lambda: "ran")
    for message in (Close(), Submit((late,)), call, Flush(), Abort("nobody")):
        looping.scheduler.inbox.put(message)
    gate.set()
    looping.thread.join(10)
    finals = looping.finals()
    assert isinstance(finals[late].error, ClosedError) and isinstance(finals[running].error, ClosedError)
    assert looping.sent(running) == running.output_ids
    assert call.future.result(0) == "ran"
    with pytest.raises(ClosedError, match="closed"):
        looping.submit(looping.req([1], 1))


def test_a_loop_that_breaks_answers_everything_and_says_why(looping) -> None:
    req = looping.req([1, 2], 400)
    looping.submit(req)
    looping.scheduler.inbox.call(lambda: setattr(looping.scheduler, "get_next_batch_to_run", lambda: 1 / 0)).result(10)
    looping.thread.join(10)
    assert isinstance(looping.failure, ZeroDivisionError)
    assert isinstance(req.error, BackendError) and "division" in str(req.error)
    assert isinstance(req.error.__cause__, ZeroDivisionError)
    with pytest.raises(ClosedError):
        looping.abort("x")


def test_the_loop_survives_a_failed_forward(looping) -> None:
    looping.worker.fail_next = RuntimeError("planted")
    first = looping.req([1, 2], 4)
    looping.submit(first)
    wait_for(looping, first)
    second = looping.req([1, 2], 4)
    looping.submit(second)
    wait_for(looping, second)
    assert isinstance(first.error, BackendError)
    assert second.output_ids == looping.oracle_output([1, 2], 4)


def test_abort_wakes_nobody_twice(looping) -> None:
    req = looping.req([1, 2], 400)
    looping.submit(req)
    looping.abort(req.rid)
    looping.abort(req.rid)
    wait_for(looping, req)
    assert isinstance(req.error, AbortError) and len(looping.finals()) == 1


def test_calls_run_on_the_engine_thread_and_return(looping) -> None:
    inbox = looping.scheduler.inbox
    assert inbox.call(threading.get_ident).result(10) == looping.thread.ident
    assert inbox.call(looping.scheduler.stats).result(10).requests == 0
    with pytest.raises(KeyError):
        inbox.call(lambda: {}["missing"]).result(10)
    assert inbox.call(looping.scheduler.tree_cache.snapshot).result(10)["nodes"] == []


def test_a_cancelled_call_does_not_run() -> None:
    ran = []
    call = Call(lambda: ran.append(1))
    assert call.future.cancel()
    call.run()
    assert ran == []


def test_an_idle_loop_uses_no_processor(looping) -> None:
    looping.scheduler.inbox.call(lambda: None).result(10)
    before = looping.scheduler.inbox.call(time.thread_time).result(10)
    time.sleep(0.3)
    assert looping.scheduler.inbox.call(time.thread_time).result(10) - before < 0.05


def test_the_inbox_keeps_order_and_returns_what_nobody_took() -> None:
    inbox = Inbox()
    inbox.put(Abort("a"))
    inbox.put(Abort("b"))
    assert inbox.take(wait=True) == [Abort("a"), Abort("b")]
    assert inbox.take(wait=False) == []
    inbox.put(Flush())
    assert inbox.close() == [Flush()]
    assert inbox.take(wait=True) == []  # a closed inbox never blocks
    with pytest.raises(ClosedError):
        inbox.put(Flush())
