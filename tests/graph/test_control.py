"""Branches and loops in graphs: what runs is what a plain Python program of the same steps runs."""

from __future__ import annotations

import asyncio
import gc
import threading

import pytest

import ramify
from ramify import FakeBackend, RequestGraph, function, gen
from ramify.interpreter import replay
from ramify.lang.ir import (
    Apply,
    Argument,
    Arm,
    Body,
    Branch,
    Child,
    Collect,
    Fill,
    Fork,
    ForkEach,
    Gather,
    Gen,
    Input,
    Loop,
    Merge,
    Reference,
)
from ramify.lang.sampling import Sampling

SHORT = {"max_tokens": 5}


@function
def twin(s, mode, items, n=2):
    """The control graph of conftest, in Python."""
    s += "Q " + gen("u", **SHORT)
    if mode == "a":
        s += " A:" + gen("x", **SHORT)
        s.set("y", None)
    elif s["u"] == "?":
        s += " B:" + gen("x", **SHORT)
        s.set("y", None)
    else:
        s.set("x", None)
        s += " C:" + gen("y", **SHORT)
    marks = []
    for number, item in enumerate(items):
        s += f" <{item}>" + gen(f"mark{number}", **SHORT)
        marks.append(s[f"mark{number}"])
        if len(marks[-1]) > 3:
            s += "!"
    tries = []
    for i, branch in enumerate(s.fork(n) if n else []):
        branch += f"\nTry {i}:" + gen("why", **SHORT)
        if i == 1:
            branch += " one" + gen("extra", **SHORT)
        tries.append({"why": branch["why"], "extra": branch["extra"] if i == 1 else None})
    reasons = [item["why"] for item in tries]
    best = max(reasons, key=reasons.count)
    s += "\nEnd " + best + gen("z", **SHORT)
    return {"best": best, "marks": tuple(marks), "x": s["x"]}


CASES = [
    {"mode": "a", "items": []},
    {"mode": "b", "items": ["one", "two", "three"]},
    {"mode": "a", "items": ("x",), "n": 4},
    {"mode": "?", "items": ["y"], "n": 1},
]


def requests(backend):
    return sorted((request.sampling, prompt) for request, prompt in zip(backend.requests, backend.prompts, strict=True))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("how", ["run", "arun", "stream", "batch", "inside", "inside async"])
def test_control_gives_what_python_gives(control_graph, case, how):
    expected, backend = FakeBackend(), FakeBackend()
    live = twin.run(**case, backend=expected)
    program = control_graph.program()
    match how:
        case "run":
            result = control_graph.run(**case, backend=backend)
        case "arun":
            result = asyncio.run(control_graph.arun(**case, backend=backend))
        case "stream":
            stream = control_graph.stream(**case, backend=backend)
            text = "".join(stream.text_iter())
            result = stream.result()
            assert text == result.text()
        case "batch":
            (row,) = control_graph.run_batch([case], backend=backend)
            result = row.unwrap()
        case "inside":
            result = function(lambda s: program(s, **case)).run(backend=backend)
        case _:

            @function
            async def outer(s):
                return await program(s, **case)

            result = outer.run(backend=backend)
    assert result.text() == live.text() and result.value == live.value
    assert sorted(map(repr, requests(backend))) == sorted(map(repr, requests(expected)))
    assert result["y"] == live["y"] and result["z"] == live["z"] and result.usage == live.usage
    assert result.keys() == ("u", "x", "y", "mark", "tries", "best", "z")
    assert [meta.text for meta in result.meta("mark").samples] == list(result["mark"])


def test_a_merged_variable_streams(control_graph):
    stream = control_graph.stream(mode="a", items=[], backend=FakeBackend(["u", "hello"]))
    assert "".join(stream.text_iter("x")) == "hello"
    deltas = list(control_graph.stream(mode="a", items=["i"], n=1, backend=FakeBackend()))
    assert [delta.variable for delta in deltas if not delta.branch] == ["u", "u", "x", "x", "mark", "mark", "z", "z"]


def test_branches_do_not_wait_for_each_other(nodes_of):
    """Two branches decide by what each of them generates; both requests are under way at once."""
    both = threading.Barrier(2, timeout=5)

    class Meeting(FakeBackend):
        async def generate(self, request):
            if "then" not in self.prompts[-1:] and request.sampling.max_tokens == 7:
                await asyncio.to_thread(both.wait)
            async for chunk in super().generate(request):
                yield chunk

    arms = []
    for branch, start in ((0, 2), (1, 3)):
        first = 4 + 6 * branch
        arms += [
            (start, Gen("a", Sampling(max_tokens=7))),
            (first, Branch((Apply("!=", (Reference(first, "a"), "")),))),
            (first + 1, Arm(0)),
            (first + 2, Fill(" then ")),
            (first + 3, Gen("b", Sampling(max_tokens=3))),
            (first + 1, Merge(("b",), ((first + 4,),))),
        ]
    nodes = nodes_of((None, Fill("x")), (0, Fork(2)), (1, Child(0)), (1, Child(1)), *arms)
    graph = RequestGraph(nodes, 1, (), (Reference(9, "b"), Reference(15, "b")))
    graph.verify()
    backend = Meeting()
    assert len(graph.run(backend=backend).value) == 2
    assert len(backend.requests) == 4
    program = graph.program()
    both.reset()
    assert len(function(lambda s: program(s)).run(backend=Meeting()).value) == 2


def test_a_straight_graph_is_sent_at_once(nodes_of):
    """A chain that only needs another branch's value does not hold up what follows it in other branches."""

    @function
    def program(s):
        s += "x"
        left, right = s.fork(2)
        left += "l" + gen("a")
        right += left["a"] + gen("b")
        s += "m" + gen("c")

    backend = FakeBackend(delay=0.02)
    program.compile().run(backend=backend)
    assert backend.max_in_flight == 2  # live, reading left["a"] holds the body up


def failing(nodes_of, *items, **inputs):
    nodes = nodes_of((None, Fill("Q ")), (0, Gen("u", Sampling(max_tokens=3))), *items)
    graph = RequestGraph(nodes, None, tuple(Input(name) for name in inputs))
    graph.verify()
    return lambda **options: graph.run(**inputs, backend=FakeBackend(**options))


def test_what_goes_wrong_is_raised(nodes_of):
    loop = [(1, Loop(Argument("items"), 2)), (2, Body("i")), (3, Fill(Reference(3, "i"))), (2, Collect((), ()))]
    with pytest.raises(ramify.ProgramError, match="has 3 items; at most 2"):
        failing(nodes_of, *loop, items=[1, 2, 3])()
    with pytest.raises(ramify.ProgramError, match="goes through a list, got a value of type str"):
        failing(nodes_of, *loop, items="abc")()
    each = [(1, ForkEach(Reference(1, "u", (0,)), 2)), (2, Body("i")), (2, Gather("g", (), ()))]
    with pytest.raises(ramify.ProgramError, match="goes through a list"):
        failing(nodes_of, *each)()
    branch = [(1, Branch((Apply("<", (Reference(1, "u"), 3)),))), (2, Arm(0)), (2, Merge((), ()))]
    with pytest.raises(ramify.ProgramError, match="< cannot be computed of str, int"):
        failing(nodes_of, *branch)()
    with pytest.raises(ramify.GenError, match="boom"):
        failing(nodes_of, *branch)(failures={0: ramify.BackendError("boom")})
    with pytest.raises(ramify.ProgramError, match="lower cannot be computed"):
        failing(nodes_of, (1, Fill(Apply("lower", (Apply("len", (Reference(1, "u"),)),)))))()


def test_conditions_after_the_one_that_holds_are_not_looked_at(nodes_of):
    broken = Apply("<", (Reference(1, "u"), 3))
    items = [(1, Branch((True, broken))), (2, Arm(0)), (2, Arm(1)), (2, Merge((), ()))]
    failing(nodes_of, *items)()
    failing(nodes_of, (1, Branch((Apply("or", (True, broken)),))), (2, Arm(0)), (2, Merge((), ())))()


def test_names_inside_arms_and_loops_belong_to_the_graph(control_graph):
    program = control_graph.program()

    @function
    def outer(s):
        s += "a" + gen("p") + gen("i")  # the loop variables' names are free outside
        program(s, mode="a", items=["v"])
        return s["mark"], s["x"], s["p"] == s["tries"]

    assert outer.run(backend=FakeBackend()).value[2] is False

    @function
    def clash(s):
        s += "a" + gen("mark")
        program(s, mode="a", items=[])

    with pytest.raises(ramify.VariableError, match="'mark' is defined twice"):
        clash.run(backend=FakeBackend())
    with pytest.raises(ramify.ProgramError, match="write await"):

        @function
        async def waits(s):
            s += program(mode="a", items=[])

        waits.run(backend=FakeBackend())


@pytest.mark.parametrize("case", CASES)
def test_a_graph_inside_a_traced_program_keeps_its_control(control_graph, case):
    program = control_graph.program()

    @function
    def outer(s, mode, greeting="Hi "):
        s += greeting
        found = program(s, mode=mode, items=case["items"], n=case.get("n", 2))
        s += f" got {found['best']}" + s["tries"][0]["why"] + gen("last", max_tokens=3)
        return found, s["last"]

    graph = outer.compile()
    again = RequestGraph.from_json(graph.to_json())
    live, compiled, decoded = (runner.run(mode=case["mode"], backend=FakeBackend()) for runner in (outer, graph, again))
    assert live.text() == compiled.text() == decoded.text()
    assert live.value == compiled.value == decoded.value and dict(live) == dict(compiled) == dict(decoded)


def test_a_run_records_only_so_much(nodes_of, monkeypatch):
    """Loops in loops are bounded as a whole, not only each of them."""
    monkeypatch.setattr(replay, "MAX_OPERATIONS", 5_000)
    items = [(1, Loop(Apply("range", (5000,)), 5000)), (2, Body("i"))]
    items += [(3, Loop(Apply("range", (5000,)), 5000)), (4, Body("j")), (4, Collect((), ())), (2, Collect((), ()))]
    with pytest.raises(ramify.ProgramError, match="operations"):
        failing(nodes_of, *items)()


@pytest.mark.parametrize("case", [{"mode": "b", "items": ["i"] * 5}, {"mode": "a", "items": []}])
async def test_a_run_that_is_ended_early_leaves_nothing_behind(control_graph, case):
    """While control waits for a value that does not come: a timeout, a cancelled task, a stream that is let go."""
    slow = FakeBackend(delay=lambda request: 30.0 if len(slow.requests) > 1 else 0.0)
    with pytest.raises(ramify.DeadlineError):
        await control_graph.arun(**case, backend=slow, timeout=0.1)
    slow.requests.clear()
    task = asyncio.create_task(control_graph.arun(**case, backend=slow))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    slow.requests.clear()
    async with control_graph.astream(**case, backend=slow) as stream:
        async for _ in stream.text_iter("u"):
            break
    program = control_graph.program()
    slow.requests.clear()
    with pytest.raises(ramify.DeadlineError):
        await function(lambda s: program(s, **case)).arun(backend=slow, timeout=0.1)
    while slow.in_flight or len(asyncio.all_tasks()) > 1:
        await asyncio.sleep(0.01)


def test_a_failure_in_one_branch_ends_the_others(nodes_of):
    """One branch fails while another one's control waits for a value."""
    nodes = nodes_of(
        (None, Fill("x")),
        (0, Fork(2)),
        (1, Child(0)),
        (1, Child(1)),
        (2, Fill("bad")),
        (4, Gen("a", Sampling(max_tokens=3))),
        (3, Fill("good")),
        (6, Gen("b", Sampling(max_tokens=3))),
        (7, Branch((Apply("==", (Reference(7, "b"), "")),))),
        (8, Arm(0)),
        (8, Merge((), ())),
    )
    graph = RequestGraph(nodes)
    graph.verify()

    def delay(request):
        return 0.02 if request.prompt[0].text.endswith("bad") else 30.0

    def answer(request):
        return ramify.BackendError("boom") if request.prompt[0].text.endswith("bad") else "fine"

    with pytest.raises(ramify.GenError, match="boom"):
        graph.run(backend=FakeBackend(answer, delay=delay))
    program = graph.program()
    with pytest.raises(ramify.GenError, match="boom"):
        function(lambda s: program(s)).run(backend=FakeBackend(answer, delay=delay))


def test_a_failure_that_control_meets_is_raised_and_not_told_twice(caplog):
    """The event loop has nothing to say about a future that nobody asked: the run raises what went wrong."""
    script = ramify.parse_script("@program p()\nQ {{gen x: int}}\n@if x > 1\n{{gen y}}\n@end\n")

    async def main():
        with pytest.raises(ramify.GenError, match="boom"):
            await script.arun(backend=FakeBackend(failures={0: ramify.BackendError("boom")}))

    asyncio.run(main())
    gc.collect()
    assert not caplog.records
