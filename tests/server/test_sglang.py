"""SGLang's native protocol: the requests of its own front end, recorded and replayed, and the rest as curl speaks it.

`sglang/record.py` made the recordings with the real front end; `sglang/said.json` is what the programs came to.
"""

from __future__ import annotations

import itertools
import json
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

import ramify

HERE = Path(__file__).parent / "sglang"
REQUESTS: list[dict[str, Any]] = json.loads((HERE / "requests.json").read_text())
SAID: dict[str, Any] = json.loads((HERE / "said.json").read_text())


@pytest.fixture(scope="module")
def engine() -> Any:
    with ramify.Engine() as engine:
        yield engine


def replay(server: Any, recorded: dict[str, Any]) -> httpx.Response:
    return httpx.request(recorded["method"], server.url + recorded["path"], json=recorded["body"], timeout=60)


def recorded(text: str, **fields: Any) -> dict[str, Any]:
    """The first recorded request with this text in its prompt, and these fields."""
    for item in REQUESTS:
        body = item["body"] or {}
        if text in str(body.get("text", "")) and all(body.get(key) == value for key, value in fields.items()):
            return item
    raise AssertionError(f"no recorded request with {text!r} and {fields}")


@pytest.mark.parametrize("item", REQUESTS, ids=lambda item: item["path"])
def test_every_recorded_request_is_answered(server: Any, item: dict[str, Any]) -> None:
    assert replay(server, item).status_code == 200


def test_generation(server: Any) -> None:
    answer = replay(server, recorded("France?", stream=None)).json()
    assert answer["text"] == SAID["answer"]
    meta = answer["meta_info"]
    assert meta["completion_tokens"] == len(answer["output_ids"]) == 8
    assert meta["finish_reason"] == {"type": "length", "length": 8}
    assert {"id", "prompt_tokens", "cached_tokens", "e2e_latency", "weight_version"} <= set(meta)


def test_stream_is_cumulative(server: Any) -> None:
    item = recorded("Italy?", stream=True)
    *events, last, rest = replay(server, item).text.split("\n\n")
    assert (last, rest) == ("data: [DONE]", "")
    texts = [json.loads(event.removeprefix("data: "))["text"] for event in events]
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(texts))
    assert texts[-1] == SAID["streamed"][-1] == replay(server, recorded("Italy?", stream=None)).json()["text"]


def test_regex(server: Any) -> None:
    assert replay(server, recorded("Number: ")).json()["text"] == SAID["number"]


def test_select_gets_the_choices_own_logprobs(server: Any, engine: ramify.Engine) -> None:
    """The front end drops the entry of the prompt's last token and averages the rest."""
    item = recorded("Rome", return_text_in_logprobs=True)
    answers = replay(server, item).json()
    prompt = "The capital of France is"
    choices = [text.removeprefix(prompt) for text in item["body"]["text"]]
    num_prompt = replay(server, recorded(prompt)).json()["meta_info"]["prompt_tokens"]
    assert item["body"]["logprob_start_len"] == num_prompt - 2
    for answer, score in zip(answers, engine.score(prompt, choices), strict=True):
        first, *entries = answer["meta_info"]["input_token_logprobs"]
        assert prompt.endswith(first[2]) and first[0] is not None
        assert [entry[1] for entry in entries] == list(score.token_ids)
        assert [entry[0] for entry in entries] == pytest.approx(list(score.logprobs), abs=1e-4)


def test_unconditional_logprobs_begin_with_a_null(server: Any) -> None:
    (item,) = [item for item in REQUESTS if "input_ids" in (item["body"] or {})]
    answers = replay(server, item).json()
    for ids, answer in zip(item["body"]["input_ids"], answers, strict=True):
        entries = answer["meta_info"]["input_token_logprobs"]
        assert [entry[1] for entry in entries] == ids
        assert entries[0][0] is None and all(entry[0] < 0 for entry in entries[1:])


def test_logprobs_of_other_requests_follow_the_server_convention(server: Any) -> None:
    body = {
        "text": "The capital of France is",
        "sampling_params": {"max_new_tokens": 2, "temperature": 0},
        "return_logprob": True,
        "logprob_start_len": 2,
        "top_logprobs_num": 2,
    }
    meta = server.post("/generate", body).json()["meta_info"]
    assert len(meta["input_token_logprobs"]) == meta["prompt_tokens"] - 2
    assert meta["input_token_logprobs"][0][0] is None
    assert [len(top) for top in meta["output_top_logprobs"]] == [2, 2]
    only_output = server.post("/generate", {**body, "logprob_start_len": -1}).json()["meta_info"]
    assert only_output["input_token_logprobs"] == []
    assert only_output["output_token_logprobs"] == meta["output_token_logprobs"]


def test_samples_come_as_a_list(server: Any) -> None:
    body = {"text": "The", "sampling_params": {"n": 3, "max_new_tokens": 4, "temperature": 3, "sampling_seed": 3}}
    answers = server.post("/generate", body).json()
    assert len({answer["text"] for answer in answers}) == 3
    assert answers == [
        {**answer, "meta_info": {**answer["meta_info"], **changing(first)}}
        for answer, first in zip(server.post("/generate", body).json(), answers, strict=True)
    ]


def changing(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: answer["meta_info"][name] for name in ("id", "e2e_latency", "cached_tokens")}


def test_abort_takes_the_exact_id(server: Any) -> None:
    answers: dict[str, httpx.Response] = {}

    def call(rid: str, num: int) -> None:
        body = {"text": "Once", "rid": rid, "sampling_params": {"max_new_tokens": num, "ignore_eos": True}}
        answers[rid] = server.post("/generate", body)

    threads = [threading.Thread(target=call, args=("r1", 3500)), threading.Thread(target=call, args=("r10", 300))]
    for thread in threads:
        thread.start()
    while server.stats()["running"] < 2:
        assert threads[1].is_alive(), "the short request ended before the long one began"
    assert server.post("/abort_request", {"rid": "r"}).status_code == 200  # a prefix of both: no request's id
    assert server.post("/abort_request", {"rid": "r1"}).status_code == 200
    for thread in threads:
        thread.join(30)
    assert answers["r1"].status_code == 499
    assert answers["r10"].status_code == 200


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({}, 400, "text or input_ids"),
        ({"text": "a", "input_ids": [1]}, 400, "text or input_ids"),
        ({"text": "a", "sampling_params": {"regex": "("}}, 400, "regex"),
        ({"text": "a", "sampling_params": {"regex": "a", "json_schema": "{}"}}, 400, "one constraint"),
        ({"text": "a", "sampling_params": {"max_tokens": 3}}, 400, "unknown field 'sampling_params.max_tokens'"),
        ({"text": "a", "sampling_params": {"ebnf": "root ::= 'a'"}}, 400, "ebnf"),
        ({"text": "a", "lora_path": "x"}, 400, "lora_path"),
        ({"text": ["a", "b"], "sampling_params": [{}]}, 400, "1 entries for 2 prompts"),
        ({"text": "a", "return_logprob": True, "logprob_start_len": 99}, 400, "logprob_start_len"),
        ({"input_ids": [10**8]}, 400, "vocabulary"),
    ],
)
def test_what_is_wrong_is_refused(server: Any, body: Any, status: int, message: str) -> None:
    answer = server.post("/generate", body)
    assert answer.status_code == status, answer.text
    assert message in answer.json()["error"]["message"]
