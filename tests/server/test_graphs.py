"""Programs that run on the server: shipped graphs and scripts, by hand and through `RemoteBackend`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

import ramify

GREEDY: Any = {"temperature": 0, "max_tokens": 8}

SCRIPT = """@program capital(country: str) -> str
@user
What is the capital of {{country}}?
@assistant
{{gen answer: str, max=8, temp=0}}
@return answer
"""


@ramify.function
def chain(s: Any, country: str) -> Any:
    s += f"The capital of {country} is" + ramify.gen("city", stop=".", **GREEDY)
    for number in range(3):
        s += f"\n{number}. " + ramify.gen(f"fact{number}", stop="\n", **GREEDY)
    s += "\nSize: " + ramify.select("size", ["small", "large"])
    return s["city"]


@ramify.function
def tree(s: Any) -> Any:
    s += "Animals:" + ramify.gen("first", **GREEDY)
    for branch in s.fork(2):
        branch += " one:" + ramify.gen("one", **GREEDY)
        for leaf in branch.fork(2):
            leaf += " two:" + ramify.gen("two", n=2, seed=1, max_tokens=3)
    for branch in s.fork(2):
        branch += " three:" + ramify.gen("three", **GREEDY)
    s += " end:" + ramify.gen("number", type=int, temperature=0)
    return s["number"]


@pytest.fixture(scope="module")
def engine() -> Iterator[ramify.Engine]:
    with ramify.Engine() as engine:
        yield engine


@pytest.fixture
def remote(server: Any) -> Iterator[ramify.RemoteBackend]:
    backend = ramify.RemoteBackend(server.url)
    yield backend
    asyncio.run(backend.close())


def requests_by_route(server: Any) -> dict[str, int]:
    counts: dict[str, int] = {}
    for line in server.get("/metrics").text.splitlines():
        if line.startswith("ramify_http_requests_total{"):
            route = line.split('route="')[1].split('"')[0]
            counts[route] = counts.get(route, 0) + int(float(line.split()[-1]))
    return counts


def test_a_graph_by_hand(server: Any, engine: ramify.Engine) -> None:
    body = {"graph": json.loads(chain.compile().to_json()), "inputs": {"country": "France"}}
    ((answer,),) = server.post("/v1/graphs/run", body).json().values()
    expected = chain.run("France", backend=engine)
    assert answer["result"]["value"] == expected.value
    assert answer["result"]["text"] == expected.text()
    assert answer["result"]["variables"] == dict(expected)
    assert answer["result"]["usage"]["completion_tokens"] == expected.usage.completion_tokens


def test_a_script_for_many_rows_of_which_one_fails(server: Any, engine: ramify.Engine) -> None:
    rows = [{"country": "France"}, {"country": "x " * 3000}, {"country": "Italy"}]
    first, failed, last = server.post("/v1/graphs/run", {"script": SCRIPT, "rows": rows}).json()["results"]
    program = ramify.parse_script(SCRIPT)
    assert first["result"]["value"] == program.run("France", backend=engine).value
    assert last["result"]["value"] == program.run("Italy", backend=engine).value
    assert failed["error"]["type"] == "GenError" and "context" in failed["error"]["message"]


def test_events(server: Any) -> None:
    body = {"script": SCRIPT, "rows": [{"country": "France"}, {"country": "Italy"}], "stream": True}
    *events, last, rest = server.post("/v1/graphs/run", body).text.split("\n\n")
    assert (last, rest) == ("data: [DONE]", "")
    found = [json.loads(event.removeprefix("data: ")) for event in events]
    for row in (0, 1):
        own = [event for event in found if event["row"] == row]
        assert set(own[0]) == {"row", "place", "asked"} and own[0]["place"].endswith(":answer")
        text = "".join(event["chunk"].get("text", "") for event in own if "chunk" in event)
        assert own[-1]["result"]["variables"]["answer"] == text


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({}, 400, "either graph or script"),
        ({"graph": {"version": 99}}, 422, "version"),
        ({"graph": {"version": 1, "nodes": []}}, 422, "lacks the field"),
        ({"script": "@program x(\n"}, 422, "E0"),
        ({"script": SCRIPT}, 400, "country"),
        ({"script": SCRIPT, "inputs": {"country": 3}}, 400, "country"),
        ({"script": SCRIPT, "inputs": {"country": "a"}, "rows": []}, 400, "one of them"),
        ({"script": SCRIPT, "rows": [{}] * 1025}, 400, "1025 rows"),
        ({"script": SCRIPT, "input": {}}, 400, "did you mean 'inputs'"),
        ({"script": SCRIPT.replace("max=8", "max=9000000"), "inputs": {"country": "a"}}, 422, "tokens"),
        ({"script": SCRIPT, "inputs": {"country": "a"}, "sampling": {"temprature": 0}}, 400, "temperature"),
    ],
)
def test_what_is_wrong_is_refused(server: Any, body: Any, status: int, message: str) -> None:
    answer = server.post("/v1/graphs/run", body)
    assert answer.status_code == status, answer.text
    assert message in answer.json()["error"]["message"]


@pytest.mark.parametrize(("program", "args"), [(chain, ("France",)), (tree, ())], ids=["chain", "tree"])
def test_shipped_is_live_in_one_round_trip(program: Any, args: Any, server: Any, remote: Any, engine: Any) -> None:
    assert remote.capabilities.graphs
    before = requests_by_route(server)
    there = program.run(*args, backend=remote)
    after = requests_by_route(server)
    made = {route: num - before.get(route, 0) for route, num in after.items()}
    assert (made["/v1/graphs/run"], made.get("/v1/generate", 0), made.get("/v1/score", 0)) == (1, 0, 0)
    here = program.run(*args, backend=engine)
    assert (there.value, there.text(), dict(there)) == (here.value, here.text(), dict(here))
    for name in here:
        assert there.meta(name).token_ids == here.meta(name).token_ids


def test_shipping_can_be_left_out(server: Any, engine: Any) -> None:
    backend = ramify.RemoteBackend(server.url, ship="never")
    before = requests_by_route(server)
    there = chain.run("France", backend=backend)
    after = requests_by_route(server)
    assert after["/v1/generate"] - before.get("/v1/generate", 0) == 4
    assert dict(there) == dict(chain.run("France", backend=engine))


def test_a_program_that_cannot_be_traced_runs_all_the_same(remote: Any, engine: Any) -> None:
    @ramify.function
    def decides(s: Any) -> Any:
        s += "The capital of France is" + ramify.gen("city", **GREEDY)
        if "Paris" in s["city"]:
            s += " and of Italy" + ramify.gen("other", **GREEDY)

    assert dict(decides.run(backend=remote)) == dict(decides.run(backend=engine))


def test_a_body_that_changes_its_mind_is_answered_all_the_same(remote: Any, engine: Any) -> None:
    calls = iter(range(100))

    @ramify.function
    def fickle(s: Any) -> Any:
        s += f"Call {next(calls)}:" + ramify.gen("first", **GREEDY)
        s += " and" + ramify.gen("second", **GREEDY)

    result = fickle.run(backend=remote)
    assert result.text().startswith("Call 1:")  # call 0 was the tracing
    assert result["first"] == engine.generate("Call 1:", **GREEDY).text


def test_scripts_and_graphs_are_shipped(remote: Any, engine: Any) -> None:
    two = ramify.parse_script(
        SCRIPT.replace("@return", "@user\nAnd its size?\n@assistant\n{{gen size, max=4, temp=0}}\n@return")
    )
    assert dict(two.run("Spain", backend=remote)) == dict(two.run("Spain", backend=engine))
    graph = chain.compile()
    assert dict(graph.run(country="Spain", backend=remote)) == dict(chain.run("Spain", backend=engine))


def test_shipped_streams(remote: Any, engine: Any) -> None:
    def stream(backend: Any) -> str:
        return "".join(chain.stream("France", backend=backend).text_iter("fact1"))

    assert stream(remote) == stream(engine) != ""


def test_shipped_batches(remote: Any, engine: Any) -> None:
    rows = [{"country": name} for name in ("France", "Italy", "Spain")]
    here, there = (chain.run_batch(rows, backend=backend) for backend in (engine, remote))
    assert [dict(row.value) for row in there] == [dict(row.value) for row in here]


def test_errors_of_a_shipped_run_come_where_they_belong(remote: Any) -> None:
    @ramify.function
    def cut(s: Any) -> Any:
        s += "Say:" + ramify.gen("fine", **GREEDY)
        s += "Say:" + ramify.gen("cut", regex="[a-z]{50}", max_tokens=3)

    with pytest.raises(ramify.GenError, match="'cut'") as caught:
        cut.run(backend=remote)
    assert isinstance(caught.value.__cause__, ramify.TruncationError)


def test_a_run_that_is_given_up_ends_on_the_server(server: Any, remote: Any) -> None:
    @ramify.function
    def long(s: Any) -> Any:
        s += "Once" + ramify.gen("a", max_tokens=3000, ignore_eos=True) + ramify.gen("b", max_tokens=10)

    with pytest.raises(ramify.DeadlineError):
        long.run(backend=remote, timeout=0.3)
    server.wait_idle(2)
