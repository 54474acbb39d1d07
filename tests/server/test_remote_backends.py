"""The same programs on the engine in this process and on a server, through each of our clients: the same results."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import pytest

import ramify

GREEDY: Any = {"temperature": 0, "max_tokens": 12}


@dataclass
class City:
    name: str
    is_capital: bool


@ramify.function
def plain(s: Any) -> Any:
    s += "The capital of France is" + ramify.gen("city", stop=".", **GREEDY)
    s += " and the capital of Italy is" + ramify.gen("other", seed=3, max_tokens=5)


@ramify.function
def chat(s: Any) -> Any:
    s += ramify.system("Be brief.")
    s += ramify.user("What is the capital of <|end|> France?")
    with s.assistant():
        s += "Well: " + ramify.gen("answer", **GREEDY)
    s += ramify.user("And of Italy?")
    s += ramify.assistant(ramify.gen("second", **GREEDY))


@ramify.function
def typed(s: Any) -> Any:
    s += ramify.user("Name a city.")
    with s.assistant():
        s += "Size: " + ramify.gen("size", type=Literal["small", "large"], temperature=0)
        s += "\nNumber: " + ramify.gen("number", regex="[0-9]{2}", temperature=0)
    return s["size"], s["number"]


@ramify.function
def label(s: Any) -> Any:
    s += ramify.user("Name a city.")
    with s.assistant():
        s += "Size: " + ramify.gen("size", type=Literal["small", "large"], temperature=0)
    return s["size"]


@ramify.function
def record(s: Any) -> Any:
    s += ramify.user("Name a city.")
    s += ramify.assistant(ramify.gen("city", type=City, temperature=0, max_tokens=60))
    return s["city"]


@ramify.function
def forks(s: Any) -> Any:
    s += "Animals:"
    branches = s.fork(3)
    for number, branch in enumerate(branches):
        branch += f"\n{number}. " + ramify.gen("name", stop="\n", **GREEDY)
    return s.join(branches)


@ramify.function
def samples(s: Any) -> Any:
    s += "The" + ramify.gen("texts", n=3, seed=5, temperature=2, max_tokens=4)
    return s["texts"]


@ramify.function
def choice(s: Any, method: str) -> Any:
    s += "The capital of France is"
    s += ramify.select("city", [" Rome", " Paris", " the city of London"], method=method)
    return s["city"]


@pytest.fixture(scope="module")
def engine() -> Iterator[ramify.Engine]:
    with ramify.Engine() as engine:
        yield engine


@pytest.fixture
def remote(server: Any) -> Iterator[ramify.RemoteBackend]:
    backend = ramify.RemoteBackend(server.url)
    yield backend
    asyncio.run(backend.close())


@pytest.fixture
def openai_backend(server: Any) -> Iterator[ramify.OpenAIBackend]:
    backend = ramify.OpenAIBackend("ramify-embedded", base_url=server.url + "/v1", flavour="ramify")
    yield backend
    asyncio.run(backend.close())


@pytest.fixture
def sglang(server: Any, engine: ramify.Engine) -> Iterator[ramify.SGLangBackend]:
    template = engine.capabilities.chat_template
    assert template is not None
    backend = ramify.SGLangBackend(server.url, chat_template=template.source)
    yield backend
    asyncio.run(backend.close())


@pytest.mark.parametrize("program", [plain, chat, typed, record, forks, samples], ids=str)
def test_remote_is_the_engine(program: Any, remote: Any, engine: Any) -> None:
    here, there = program.run(backend=engine), program.run(backend=remote)
    assert there.text() == here.text()
    assert there.value == here.value
    assert there.messages() == here.messages()
    assert there.usage.completion_tokens == here.usage.completion_tokens
    assert set(there) == set(here)
    for name in here:
        assert there[name] == here[name]
        assert there.meta(name).token_ids == here.meta(name).token_ids
        assert there.meta(name).finish_reason == here.meta(name).finish_reason


METHODS = [
    *("token_length_normalized", "greedy_token_selection", "unconditional_likelihood_normalized", "constrained"),
]


@pytest.mark.parametrize("method", METHODS)
def test_select(method: str, remote: Any, engine: Any) -> None:
    here, there = choice.run(method, backend=engine), choice.run(method, backend=remote)
    assert there.value == here.value == " Paris"
    for row, expected in zip(there.meta("city").scores, here.meta("city").scores, strict=True):
        assert row.choice == expected.choice
        assert row.probability == pytest.approx(expected.probability, abs=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_select_over_sglang(method: str, sglang: Any, engine: Any) -> None:
    assert choice.run(method, backend=sglang).value == choice.run(method, backend=engine).value


# Where prompts travel as text, an answer is tokenised anew for the next one, so a later gen may differ at a near-tie.
ONE_ANSWER_A_PROMPT = [label, record, forks]


@pytest.mark.parametrize("program", ONE_ANSWER_A_PROMPT, ids=str)
def test_sglang_is_the_engine(program: Any, sglang: Any, engine: Any) -> None:
    here, there = program.run(backend=engine), program.run(backend=sglang)
    assert there.value == here.value
    assert there.text() == here.text()


@pytest.mark.parametrize("program", ONE_ANSWER_A_PROMPT, ids=str)
def test_openai_is_the_engine(program: Any, openai_backend: Any, engine: Any) -> None:
    here, there = program.run(backend=engine), program.run(backend=openai_backend)
    assert there.value == here.value
    assert there.messages() == here.messages()


def test_streams(remote: Any, engine: Any) -> None:
    def stream(backend: Any) -> str:
        return "".join(plain.stream(backend=backend).text_iter("city"))

    assert stream(remote) == stream(engine) != ""


async def test_async_programs(remote: Any, engine: Any) -> None:
    @ramify.function
    async def question(s: Any) -> None:
        s += "The capital of France is" + ramify.gen("city", **GREEDY)

    there = await question.arun(backend=remote)
    assert there["city"] == (await question.arun(backend=engine))["city"]
    await remote.close()


def test_batches(remote: Any, engine: Any) -> None:
    @ramify.function
    def question(s: Any, country: str) -> None:
        s += f"The capital of {country} is" + ramify.gen("city", **GREEDY)

    rows = [{"country": name} for name in ("France", "Italy", "Spain", "Japan")] * 8
    here, there = (question.run_batch(rows, backend=backend) for backend in (engine, remote))
    assert [row.value["city"] for row in there] == [row.value["city"] for row in here]


def test_errors_keep_their_type_and_partial_text(remote: Any) -> None:
    @ramify.function
    def cut(s: Any) -> None:
        s += "Say: " + ramify.gen("x", regex="[a-z]{50}", max_tokens=3)

    with pytest.raises(ramify.GenError) as caught:
        cut.run(backend=remote)
    assert isinstance(caught.value.__cause__, ramify.TruncationError)
    assert caught.value.partial

    @ramify.function
    def late(s: Any) -> None:
        s += "Say: " + ramify.gen("x", max_tokens=3000, ignore_eos=True)

    with pytest.raises(ramify.DeadlineError):
        late.run(backend=remote, timeout=0.2)


def test_nobody_there() -> None:
    backend = ramify.RemoteBackend("http://127.0.0.1:9", timeout=2)
    with pytest.raises(ramify.BackendError, match=r"127\.0\.0\.1:9 cannot be reached"):
        plain.run(backend=backend)


def test_a_wrong_key(limited_server: Any) -> None:
    assert label.run(backend=ramify.RemoteBackend(limited_server.url, api_key="secret"))["size"]
    with pytest.raises(ramify.BackendError, match="API key"):
        label.run(backend=ramify.RemoteBackend(limited_server.url, api_key="wrong"))


@ramify.function
def begun(s: Any) -> None:
    s += ramify.user("Hello")
    s += ramify.assistant("Well, " + ramify.gen("x"))


@ramify.function
def outside(s: Any) -> None:
    s += "Hello" + ramify.user("Hello") + ramify.assistant(ramify.gen("x"))


@ramify.function
def spoken(s: Any) -> None:
    s += ramify.user("Hello" + ramify.gen("x"))


@pytest.mark.parametrize(
    ("flavour", "program", "message"),
    [
        ("openai", begun, "cannot go on with text"),
        ("openai", outside, "text outside roles"),
        ("openai", spoken, "not in role 'user'"),
        ("openai", choice.bind(method="token_length_normalized"), "cannot score"),
        ("openai", choice.bind(method="constrained"), "cannot enforce a choices constraint"),
        ("llama.cpp", typed, "cannot enforce a choices constraint"),
    ],
)
def test_what_a_server_cannot_do_is_refused_before_sending(flavour: Any, program: Any, message: str) -> None:
    backend = ramify.OpenAIBackend("m", base_url="http://127.0.0.1:9/v1", flavour=flavour)
    with pytest.raises(ramify.GenError, match=message) as caught:
        program.run(backend=backend)
    assert isinstance(caught.value.__cause__, ramify.UnsupportedError)
