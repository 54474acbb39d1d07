"""OpenAI's protocol, spoken by the real `openai` client to a real server process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

import ramify

MESSAGES: Any = [{"role": "user", "content": "What is the capital of France?"}]
GREEDY: Any = {"temperature": 0, "max_tokens": 12}


@pytest.fixture
def client(server: Any) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def engine() -> Iterator[ramify.Engine]:
    with ramify.Engine() as engine:
        yield engine


def test_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["ramify-embedded"]


def test_chat(client: openai.OpenAI, engine: ramify.Engine) -> None:
    answer = client.chat.completions.create(model="ramify-embedded", messages=MESSAGES, **GREEDY)
    expected = engine.generate(MESSAGES, **GREEDY)
    (choice,) = answer.choices
    assert (choice.message.role, choice.message.content) == ("assistant", expected.text)
    assert choice.finish_reason == expected.finish.reason
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (
        expected.prompt_tokens,
        expected.completion_tokens,
    )


def test_chat_streams(client: openai.OpenAI, engine: ramify.Engine) -> None:
    stream = client.chat.completions.create(
        model="ramify-embedded", messages=MESSAGES, stream=True, stream_options={"include_usage": True}, **GREEDY
    )
    *parts, usage = list(stream)
    assert usage.choices == [] and usage.usage is not None and usage.usage.total_tokens > 0
    assert parts[0].choices[0].delta.role == "assistant"
    assert "".join(part.choices[0].delta.content or "" for part in parts) == engine.generate(MESSAGES, **GREEDY).text
    assert parts[-1].choices[0].finish_reason in ("stop", "length")


def test_samples_with_a_seed_are_repeated(client: openai.OpenAI) -> None:
    def texts(seed: int) -> list[str | None]:
        answer = client.chat.completions.create(
            model="", messages=MESSAGES, n=3, seed=seed, temperature=2, max_tokens=8
        )
        assert [choice.index for choice in answer.choices] == [0, 1, 2]
        return [choice.message.content for choice in answer.choices]

    assert texts(1) == texts(1)
    assert len(set(texts(1))) == 3
    assert texts(1) != texts(2)


def test_streamed_samples_come_back_by_index(client: openai.OpenAI) -> None:
    options: Any = {"model": "", "messages": MESSAGES, "n": 3, "seed": 4, "temperature": 1.5, "max_tokens": 8}
    texts = ["", "", ""]
    for part in client.chat.completions.create(stream=True, **options):
        texts[part.choices[0].index] += part.choices[0].delta.content or ""
    whole = client.chat.completions.create(**options)
    assert texts == [choice.message.content for choice in whole.choices]


def test_json_object_and_schema(client: openai.OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"sure": {"type": "boolean"}, "label": {"enum": ["a", "b"]}},
        "required": ["sure", "label"],
        "additionalProperties": False,
    }
    answer = client.chat.completions.create(
        model="",
        messages=MESSAGES,
        seed=1,
        max_tokens=60,
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}},
    )
    value = json.loads(answer.choices[0].message.content or "")
    assert set(value) == {"sure", "label"} and value["label"] in ("a", "b")


@pytest.mark.parametrize(
    ("extra", "matches"),
    [
        ({"regex": "[0-9]{4}"}, lambda text: len(text) == 4 and text.isdigit()),
        ({"choices": ["x", "y"]}, "xy".__contains__),
    ],
)
def test_constraints_beyond_openai(client: openai.OpenAI, extra: Any, matches: Any) -> None:
    answer = client.completions.create(model="", prompt="Say: ", max_tokens=8, seed=3, extra_body=extra)
    assert matches(answer.choices[0].text)


def test_completions_of_many_prompts(client: openai.OpenAI, engine: ramify.Engine) -> None:
    prompts = ["The capital of France is", "The capital of Italy is"]
    answer = client.completions.create(model="", prompt=prompts, n=2, temperature=0, max_tokens=6)
    expected = engine.generate(prompts, temperature=0, max_tokens=6)
    assert [choice.text for choice in answer.choices] == [expected[0].text] * 2 + [expected[1].text] * 2
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == sum(one.prompt_tokens for one in expected)


def test_completion_of_token_ids(client: openai.OpenAI, engine: ramify.Engine) -> None:
    ids = engine.tokenizer.encode_text("The capital of France is")
    answer = client.completions.create(model="", prompt=ids, temperature=0, max_tokens=6)
    assert answer.choices[0].text == engine.generate(ids, temperature=0, max_tokens=6).text


def test_logprobs(client: openai.OpenAI, engine: ramify.Engine) -> None:
    prompt = "The capital of France is"
    options: Any = {"temperature": 0, "max_tokens": 4}
    expected = engine.generate(prompt, logprobs=2, prompt_logprobs=2, **options)
    answer = client.completions.create(model="", prompt=prompt, logprobs=2, echo=True, **options)
    found = answer.choices[0].logprobs
    assert found is not None and found.tokens is not None and found.text_offset is not None
    assert found.tokens == [entry.text for entry in (*expected.prompt_logprobs, *expected.logprobs)]
    assert found.token_logprobs is not None and found.token_logprobs[0] is None
    assert found.token_logprobs[-4:] == pytest.approx([entry.logprob for entry in expected.logprobs], abs=1e-5)
    assert answer.choices[0].text.startswith(prompt)
    offsets = dict(zip(found.text_offset, found.tokens, strict=True))
    assert all(answer.choices[0].text[offset:].startswith(token) for offset, token in offsets.items())
    chat = client.chat.completions.create(model="", messages=MESSAGES, logprobs=True, top_logprobs=2, **options)
    content = chat.choices[0].logprobs
    assert content is not None and content.content is not None
    for entry in content.content:
        assert len(entry.top_logprobs) == 2
        assert entry.token == entry.top_logprobs[0].token  # greedy: the most likely token was taken
        assert entry.bytes == list(entry.token.encode())


def test_logit_bias_and_stop(client: openai.OpenAI, engine: ramify.Engine) -> None:
    prompt = "The capital of France is"
    first = engine.generate(prompt, temperature=0, max_tokens=1).token_ids[0]
    free = client.completions.create(model="", prompt=prompt, temperature=0, max_tokens=4).choices[0].text
    biased = client.completions.create(
        model="", prompt=prompt, temperature=0, max_tokens=4, logit_bias={str(first): -100}
    )
    assert biased.choices[0].text != free
    stopped = client.completions.create(model="", prompt=prompt, temperature=0, max_tokens=4, stop=free[2:4])
    assert stopped.choices[0].text == free[: free.index(free[2:4])]
    assert stopped.choices[0].finish_reason == "stop"


def test_cached_tokens_are_told(client: openai.OpenAI) -> None:
    options: Any = {"model": "", "prompt": "A long enough text to be remembered. " * 4, "max_tokens": 1}
    client.completions.create(**options)
    usage = client.completions.create(**options).usage
    assert usage is not None and usage.prompt_tokens_details is not None
    assert usage.prompt_tokens_details.cached_tokens == usage.prompt_tokens - 1


def test_content_is_never_markup(client: openai.OpenAI, engine: ramify.Engine) -> None:
    special = max((text for text in engine.tokenizer._special), key=len)
    plain = client.chat.completions.create(model="", messages=[{"role": "user", "content": "a"}], max_tokens=1)
    spelled = client.chat.completions.create(model="", messages=[{"role": "user", "content": special}], max_tokens=1)
    assert plain.usage is not None and spelled.usage is not None
    assert spelled.usage.prompt_tokens > plain.usage.prompt_tokens  # one token would be the special one


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        ({"temperature": 11}, 400, "temperature"),
        ({"extra_body": {"temprature": 1}}, 400, "did you mean 'temperature'"),
        ({"extra_body": {"regex": "("}}, 400, "regex '(' is not"),
        ({"extra_body": {"regex": "a", "choices": ["b"]}}, 400, "one constraint"),
        ({"response_format": {"type": "json_schema"}}, 400, "json_schema"),
        ({"model": "gpt-4"}, 400, "there is no model 'gpt-4'"),
        ({"messages": []}, 400, "messages"),
        ({"messages": [{"role": "usr", "content": "a"}]}, 400, "role"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, 400, "no place for tools"),
        ({"max_tokens": 10**6}, 400, "max_tokens"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_errors(client: openai.OpenAI, options: Any, status: int, message: str, stream: bool) -> None:
    arguments: Any = {"model": "", "messages": MESSAGES, **options}
    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(stream=stream, **arguments)
    assert caught.value.status_code == status
    assert message in caught.value.body["message"]  # type: ignore[index]
    assert set(caught.value.body) == {"message", "type", "param", "code"}  # type: ignore[arg-type]
