"""When something goes wrong: typed errors with a place, siblings cancelled, nothing hangs, nothing leaks."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import signal
import subprocess
import sys
import textwrap
import threading
import time
import traceback

import pytest

import ramify
from ramify import FakeBackend, function, gen, select

BOOM = ramify.BackendError("boom")


def test_a_failing_gen_names_node_place_cause_and_partial_text():
    @function
    def program(s):
        s += "x" + gen("a")
        s += gen("b")

    backend = FakeBackend(["one", "two three"], failures={1: (4, ramify.CapacityError("too big"))})
    with pytest.raises(
        ramify.GenError, match=r"gen 'b' \(.*test_failures\.py:\d+\) failed: CapacityError: too big"
    ) as e:
        program.run(backend=backend)
    assert (e.value.node, e.value.partial) == ("b", "two ")
    assert e.value.location.endswith(f"test_failures.py:{program.body.__code__.co_firstlineno + 3}")
    assert isinstance(e.value.__cause__, ramify.CapacityError)


def test_a_failure_is_raised_at_the_read():
    @function
    def program(s):
        s += "x" + gen("a")
        with pytest.raises(ramify.GenError):
            s["a"]
        with pytest.raises(ramify.GenError):
            s["a"]
        with pytest.raises(ramify.GenError):
            s.text()
        with pytest.raises(ramify.GenError):
            s += "more"
        return "handled"

    result = program.run(backend=FakeBackend(failures={0: BOOM}))
    assert result.value == "handled" and result.text() == "x"
    with pytest.raises(ramify.GenError):
        result["a"]


def test_a_failure_nobody_reads_is_raised_by_run():
    @function
    def program(s):
        branch = s.copy()
        branch += "x" + gen("a")
        s += "fine"

    with pytest.raises(ramify.GenError, match="boom"):
        program.run(backend=FakeBackend(failures={0: BOOM}))


def test_a_failing_select():
    class Broken(FakeBackend):
        async def score(self, request):
            raise BOOM

    with pytest.raises(ramify.GenError, match=r"select 'c' .*boom"):
        function(lambda s: s.__iadd__("x").__iadd__(select("c", ["a", "b"]))).run(backend=Broken())


def test_an_exception_of_any_type_in_a_backend_is_wrapped():
    class Buggy(FakeBackend):
        async def generate(self, request):
            yield ramify.backend.api.Chunk(text="some")
            raise ZeroDivisionError("bug")

    with pytest.raises(ramify.GenError, match=r"ZeroDivisionError: bug; text so far: 'some'") as caught:
        function(lambda s: s.__iadd__("x").__iadd__(gen("a"))).run(backend=Buggy())
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_backend_that_ends_without_a_finish_is_an_error():
    class Silent(FakeBackend):
        async def generate(self, request):
            return
            yield

    with pytest.raises(ramify.GenError, match="without a finish"):
        function(lambda s: s.__iadd__("x").__iadd__(gen("a"))).run(backend=Silent())


def test_a_failing_branch_cancels_its_siblings_and_their_branches():
    script = {"bad$": BOOM, "slow$": "s" * 100, "leaf$": "l" * 100, "other$": "fine"}
    backend = FakeBackend(script, delay=0.05, piece_delay=5)

    @function
    def program(s):
        left, right, nested = s.fork(3)
        other = s.copy()
        right += "slow" + gen("v")
        leaf = nested.copy()
        leaf += "leaf" + gen("v")
        left += "bad" + gen("v")
        other += "other" + gen("v", max_tokens=1)
        for branch in (right, leaf):
            with pytest.raises(ramify.GenError, match="boom"):
                branch["v"]
        return other["v"]

    start = time.monotonic()
    assert program.run(backend=backend).value == "f"  # another fork's branch goes on
    assert time.monotonic() - start < 4
    assert len(backend.aborted) == len(backend.requests) - 2 and backend.in_flight == 0


def test_an_exception_in_the_body_aborts_everything():
    backend = FakeBackend(delay=30)

    @function
    def program(s):
        s += "x" + gen("a")
        branches = s.copy().fork(2)
        branches += "y" + gen("b")
        raise LookupError("mine")

    start = time.monotonic()
    with pytest.raises(LookupError, match="mine"):
        program.run(backend=backend)
    assert time.monotonic() - start < 5 and backend.in_flight == 0


@pytest.mark.parametrize("read", [False, True])
def test_a_timeout_aborts_what_was_started(read):
    backend = FakeBackend(delay=30)

    @function
    def program(s):
        s += "x" + gen("a")
        branch = s.copy()
        branch += gen("b")
        other = function(lambda t: t.__iadd__("z").__iadd__(gen("c")))
        if read:
            other.run()

    start = time.monotonic()
    with pytest.raises(ramify.DeadlineError, match=r"timeout of 0\.2 s"):
        program.run(backend=backend, timeout=0.2)
    assert time.monotonic() - start < 5
    deadline = time.monotonic() + 5
    while backend.in_flight and time.monotonic() < deadline:
        time.sleep(0.01)
    assert backend.in_flight == 0 and len(backend.aborted) == len(backend.requests)


def test_a_timeout_ends_a_run_whose_body_does_not_read():
    @function
    def program(s):
        time.sleep(3)

    start = time.monotonic()
    with pytest.raises(ramify.DeadlineError):
        program.run(backend=FakeBackend(), timeout=0.1)
    assert time.monotonic() - start < 2


def test_the_remaining_time_is_passed_on_and_the_backends_deadline_is_the_runs():
    backend = FakeBackend(["abc"], failures={0: ramify.DeadlineError("engine says so")})
    with pytest.raises(ramify.DeadlineError, match="program did not finish"):
        function(lambda s: s.__iadd__("x").__iadd__(gen("a"))).run(backend=backend, timeout=9)
    assert 0 < backend.requests[0].hints.timeout <= 9


def test_states_cannot_be_used_after_the_run():
    kept = []
    program = function(lambda s: kept.append(s))
    program.run(backend=FakeBackend())
    with pytest.raises(ramify.ProgramError, match="run has ended"):
        kept[0] += "more"
    with pytest.raises(ramify.ProgramError, match="run has ended"):
        kept[0].text()


def test_a_state_of_a_cancelled_run_raises_its_end():
    kept = []

    @function
    def program(s):
        kept.append(s)
        s += "x" + gen("a")
        s["a"]

    with pytest.raises(ramify.DeadlineError):
        program.run(backend=FakeBackend(delay=30), timeout=0.1)
    with pytest.raises(ramify.DeadlineError):
        kept[0]["a"]


def test_a_stream_ends_with_the_program_that_started_it():
    backend, streams = FakeBackend(delay=30), []
    inner = function(lambda s: s.__iadd__("x").__iadd__(gen("a")))
    function(lambda s: streams.append(inner.stream())).run(backend=backend)
    with pytest.raises(ramify.AbortError, match="has ended"):
        streams[0].result()
    assert backend.in_flight == 0


def test_stop_iteration_in_a_body_does_not_hang():
    with pytest.raises(RuntimeError, match="StopIteration"):
        function(lambda s: next(iter(()))).run(backend=FakeBackend(), timeout=5)
    with pytest.raises(StopIteration):
        function(lambda s: next(iter(()))).run(backend=FakeBackend())


def test_system_exit_in_a_body_reaches_the_caller_and_spares_the_loop():
    with pytest.raises(SystemExit):
        function(lambda s: sys.exit(3)).run(backend=FakeBackend(), timeout=5)
    assert function(lambda s: 1).run(backend=FakeBackend(), timeout=5).value == 1


def test_reading_a_failure_again_adds_nothing_to_its_traceback():
    lengths = []

    @function
    def program(s):
        s += "x" + gen("a")
        for _ in range(3):
            try:
                s["a"]
            except ramify.GenError as error:
                lengths.append(len(traceback.extract_tb(error.__traceback__)))
                assert isinstance(error.__cause__, ramify.BackendError)

    program.run(backend=FakeBackend(failures={0: BOOM}))
    assert lengths[0] == lengths[2] <= 4


def test_the_body_may_append_while_its_gens_are_answered():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # the body's thread and the loop take turns as often as they can

    @function
    def program(s):
        s += "x"
        for i in range(20):
            s += gen(f"a{i}", max_tokens=1)
            for _ in range(300):
                s += "y"

    try:
        for _ in range(3):
            program.run(backend=FakeBackend())
    finally:
        sys.setswitchinterval(interval)


def test_ctrl_c_ends_the_run_and_its_requests():
    script = textwrap.dedent(
        """
        import ramify, sys, time
        backend = ramify.FakeBackend(delay=60)
        @ramify.function
        def program(s):
            s += "x" + ramify.gen("a")
            print("started", flush=True)
            s["a"]
        try:
            program.run(backend=backend, timeout=%s)
        except KeyboardInterrupt:
            deadline = time.monotonic() + 5
            while backend.in_flight and time.monotonic() < deadline:
                time.sleep(0.01)
            print("interrupted", backend.in_flight, len(backend.aborted), flush=True)
        """
    )
    for timeout in (None, 50):
        process = subprocess.Popen([sys.executable, "-c", script % timeout], stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "started\n"
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=20)[0] == "interrupted 0 1\n"


def blocking(s):
    s += "x" + gen("a")
    return s["a"]


async def awaiting(s):
    s += "x" + gen("a")
    return await s.get("a")


@pytest.mark.parametrize("body", [blocking, awaiting])
def test_cancelling_arun_aborts_without_a_word(body, caplog):
    backend = FakeBackend(delay=30)

    async def main():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(function(body).arun(backend=backend), 0.1)

    asyncio.run(main())
    gc.collect()
    assert backend.in_flight == 0 and len(backend.aborted) == 1 and not caplog.records


VARIABLE = contextvars.ContextVar("test_variable", default="unset")


def test_context_variables_travel_to_the_backend_and_into_bodies():
    class Looking(FakeBackend):
        seen = []

        def generate(self, request):
            self.seen.append(VARIABLE.get())
            return super().generate(request)

    @function
    def program(s):
        s += "x" + gen("a")
        return VARIABLE.get()

    token = VARIABLE.set("here")
    try:
        backend = Looking()
        assert program.run(backend=backend).value == "here"
        assert program.run(backend=backend, timeout=5).value == "here"
        assert asyncio.run(program.arun(backend=backend)).value == "here"
        assert backend.seen == ["here"] * 3
    finally:
        VARIABLE.reset(token)


def test_a_sync_run_uses_the_callers_thread():
    assert function(lambda s: threading.current_thread()).run(backend=FakeBackend()).value is threading.current_thread()
