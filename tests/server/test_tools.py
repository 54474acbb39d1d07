"""Tools over OpenAI's protocol, with a model whose template has them; and finding calls in what a model wrote."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

import ramify
from ramify.backend.server.openai_bodies import Tool
from ramify.backend.server.tools import Call, call_schema, find_calls

TEMPLATE = (
    "{% if tools %}<|system|>\nTools: {% for tool in tools %}{{ tool | tojson }}{% endfor %}<|end|>\n{% endif %}"
    "{% for message in messages %}<|{{ message['role'] if message['role'] != 'tool' else 'user' }}|>\n"
    "{{ message['content'] }}{% for call in message['tool_calls'] or [] %}{{ call['function'] | tojson }}{% endfor %}"
    "<|end|>\n{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)


def tool(name: str, **properties: Any) -> dict[str, Any]:
    parameters = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


WEATHER = tool("weather", city={"enum": ["Paris", "Rome"]}, days={"enum": [1, 2]})
CLOCK = tool("clock")
MESSAGES: Any = [{"role": "user", "content": "What is the weather like?"}]


@pytest.fixture(scope="module")
def client(start_server: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    folder = tmp_path_factory.mktemp("model") / "tooled"
    embedded = Path(ramify.__file__).resolve().parent / "backend" / "engine" / "models" / "embedded"
    shutil.copytree(embedded, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    with openai.OpenAI(base_url=start_server("--model", str(folder)).url + "/v1", api_key="none") as client:
        yield client


def options(**more: Any) -> Any:
    return {"model": "", "messages": MESSAGES, "tools": [WEATHER, CLOCK], "seed": 1, "max_tokens": 60, **more}


@pytest.mark.parametrize("seed", range(4))
def test_a_call_that_must_come_is_one_of_the_functions(client: openai.OpenAI, seed: int) -> None:
    (choice,) = client.chat.completions.create(**options(tool_choice="required", seed=seed, temperature=2)).choices
    assert choice.finish_reason == "tool_calls" and choice.message.content is None
    assert choice.message.tool_calls is not None
    (call,) = choice.message.tool_calls
    arguments = json.loads(call.function.arguments)
    if call.function.name == "weather":
        assert set(arguments) == {"city", "days"} and arguments["city"] in ("Paris", "Rome")
    else:
        assert (call.function.name, arguments) == ("clock", {})


def test_a_named_function_is_the_one_called(client: openai.OpenAI) -> None:
    wanted = {"type": "function", "function": {"name": "clock"}}
    stream = client.chat.completions.create(**options(tool_choice=wanted, stream=True))
    calls = [call for part in stream for call in part.choices[0].delta.tool_calls or ()]
    assert [call.function.name for call in calls if call.function] == ["clock"]


def test_the_template_tells_the_model_of_its_tools(client: openai.OpenAI) -> None:
    def prompt_tokens(**more: Any) -> int:
        usage = client.chat.completions.create(**options(max_tokens=1, **more)).usage
        assert usage is not None
        return usage.prompt_tokens

    assert prompt_tokens() > prompt_tokens(tools=[CLOCK]) > prompt_tokens(tool_choice="none")


def test_a_conversation_with_calls_and_results(client: openai.OpenAI) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome", "days": 1}'}}
    turns = [
        *MESSAGES,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "sunny"},
    ]
    assert client.chat.completions.create(**options(messages=turns, max_tokens=4)).choices[0].message.content
    call["function"]["arguments"] = "{"  # type: ignore[index]
    with pytest.raises(openai.BadRequestError, match="arguments of a tool call are not JSON"):
        client.chat.completions.create(**options(messages=turns))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"tool_choice": {"type": "function", "function": {"name": "moon"}}}, "names 'moon'"),
        ({"tool_choice": "required", "tools": []}, "no tools"),
        ({"tool_choice": "required", "extra_body": {"regex": "a"}}, "another constraint"),
        ({"tools": [tool("<|end|>x")]}, "name"),
    ],
)
def test_what_cannot_be_called_is_refused(client: openai.OpenAI, more: Any, message: str) -> None:
    with pytest.raises(openai.BadRequestError, match=message):
        client.chat.completions.create(**options(**more))


TOOLS = [Tool.model_validate(WEATHER), Tool.model_validate(CLOCK)]


@pytest.mark.parametrize(
    ("text", "rest", "calls"),
    [
        ("Hello", "Hello", []),
        ('{"name": "clock", "arguments": {}}', "", [Call("clock", "{}")]),
        ('{"name": "clock", "parameters": {"a": 1}}', "", [Call("clock", '{"a": 1}')]),
        ('{"name": "moon", "arguments": {}}', '{"name": "moon", "arguments": {}}', []),
        (
            'So: <tool_call>\n{"name": "clock", "arguments": {}}\n</tool_call><tool_call>{"name": "weather", '
            '"arguments": "x"}</tool_call>',
            "So:",
            [Call("clock", "{}"), Call("weather", "x")],
        ),
        ("<tool_call>{broken}</tool_call>", "<tool_call>{broken}</tool_call>", []),
    ],
)
def test_calls_are_found(text: str, rest: str, calls: list[Call]) -> None:
    assert find_calls(text, TOOLS) == (rest, calls)


def test_the_schema_of_calls() -> None:
    assert call_schema(TOOLS[:1])["properties"]["name"] == {"const": "weather"}
    assert [schema["properties"]["name"]["const"] for schema in call_schema(TOOLS)["anyOf"]] == ["weather", "clock"]
