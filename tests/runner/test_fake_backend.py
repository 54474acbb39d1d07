"""FakeBackend obeys requests as an engine would, records them, and answers the same way every time."""

from __future__ import annotations

import asyncio
import json
import re

import pytest

import ramify
from ramify.backend.api import Backend, Capabilities, Chunk, Hints, Request, ScoreRequest, Text, Tokens
from ramify.lang.constraints import Choices, Grammar, JsonSchema, Regex


def ask(prompt="Q:", constraint=None, hints=None, **sampling):
    return Request(
        prompt=(Text(prompt),),
        sampling=ramify.Sampling.of(**sampling),
        constraint=constraint,
        hints=hints or Hints(),
    )


async def chunks_of(backend, request):
    return [chunk async for chunk in backend.generate(request)]


async def text_of(backend, request):
    return "".join(chunk.text for chunk in await chunks_of(backend, request))


def finish_of(chunks: list[Chunk]):
    return chunks[-1].finish


def test_it_is_a_backend():
    assert isinstance(ramify.FakeBackend(), Backend)


async def test_a_list_answers_in_order_and_ends_with_an_error():
    backend = ramify.FakeBackend(["one", "two"])
    assert [await text_of(backend, ask()), await text_of(backend, ask())] == ["one", "two"]
    with pytest.raises(ramify.BackendError, match=r"2 answers and this is request 3"):
        await text_of(backend, ask())


async def test_a_mapping_answers_the_first_pattern_found_and_invents_the_rest():
    backend = ramify.FakeBackend({r"France\?$": "Paris", "France": "a country"})
    assert await text_of(backend, ask("Capital of France?")) == "Paris"
    assert await text_of(backend, ask("France is")) == "a country"
    assert await text_of(backend, ask("Spain")) not in ("Paris", "a country", "")


async def test_a_callable_sees_the_request():
    backend = ramify.FakeBackend(lambda request: request.prompt[0].text.upper())
    assert await text_of(backend, ask("abc")) == "ABC"


async def test_invented_answers_depend_on_seed_and_prompt_only():
    def texts(seed):
        backend = ramify.FakeBackend(seed=seed)
        return [asyncio.run(text_of(backend, ask(prompt))) for prompt in ("a", "b", "a")]

    first, again, other = (
        await asyncio.to_thread(texts, 1),
        await asyncio.to_thread(texts, 1),
        await asyncio.to_thread(texts, 2),
    )
    assert first == again
    assert first[0] == first[2] != first[1]
    assert first[0] != other[0]


async def test_pieces_put_together_are_the_answer_and_the_last_one_closes_it():
    backend = ramify.FakeBackend(["abcdefghij"], piece_len=3)
    chunks = await chunks_of(backend, ask("Q"))
    assert [chunk.text for chunk in chunks] == ["abc", "def", "ghi", "j"]
    assert [chunk.finish is None for chunk in chunks] == [True, True, True, False]
    ids = [token for chunk in chunks for token in chunk.token_ids]
    assert ids[:10] == [ord(c) for c in "abcdefghij"] and len(ids) == 11  # and end-of-sequence
    assert finish_of(chunks).num_kept == 10 and finish_of(chunks).matched == ids[-1]
    assert chunks[-1].usage.completion_tokens == 11


async def test_max_tokens_cuts_and_zero_generates_nothing():
    chunks = await chunks_of(ramify.FakeBackend(["abcdef"]), ask(max_tokens=4))
    assert "".join(chunk.text for chunk in chunks) == "abcd"
    assert finish_of(chunks).reason == "length" and finish_of(chunks).matched is None
    empty = await chunks_of(ramify.FakeBackend(["abcdef"]), ask(max_tokens=0))
    assert [(chunk.text, chunk.token_ids, chunk.finish.reason) for chunk in empty] == [("", (), "length")]


@pytest.mark.parametrize(
    ("sampling", "text", "matched"),
    [
        ({"stop": "\n"}, "one two", "\n"),
        ({"stop": ["three", "two"]}, "one ", "two"),
        ({"stop_regex": r"t\w+e"}, "one two\n", r"t\w+e"),
        ({"stop_token_ids": [ord("w")]}, "one t", ord("w")),
        ({"stop": "o", "min_tokens": 3}, "one tw", "o"),
    ],
)
async def test_stops_end_the_text_before_the_match(sampling, text, matched):
    chunks = await chunks_of(ramify.FakeBackend(["one two\nthree"]), ask(**sampling))
    assert "".join(chunk.text for chunk in chunks) == text
    assert (finish_of(chunks).reason, finish_of(chunks).matched) == ("stop", matched)


async def test_a_stop_inside_a_token_leaves_a_tail():
    chunks = await chunks_of(ramify.FakeBackend(["Paris.\nMore"], token_len=2), ask(stop="."))
    finish = finish_of(chunks)
    ids = [token for chunk in chunks for token in chunk.token_ids]
    assert "".join(chunk.text for chunk in chunks) == "Paris"
    assert (finish.num_kept, finish.tail, len(ids)) == (2, "s", 3)


async def test_ignore_eos_and_min_tokens_go_on_writing():
    assert len(await text_of(ramify.FakeBackend(["ab"]), ask(ignore_eos=True, max_tokens=30))) == 30
    longer = await text_of(ramify.FakeBackend(["ab"]), ask(min_tokens=10))
    assert longer.startswith("ab") and len(longer) >= 10


@pytest.mark.parametrize(
    "pattern",
    [
        r"-?(0|[1-9][0-9]{0,5})",
        r"(yes|no)",
        r"[^\W\d]{3}\d+\s",
        r"(a|b)\1",
        r"\d{4}-\d\d-\d\d",
        r"^x.y+?$",
        r"[é-ü]{2}",
    ],
)
async def test_invented_text_matches_its_regex(pattern):
    for seed in range(5):
        text = await text_of(ramify.FakeBackend(seed=seed), ask(constraint=Regex(pattern)))
        assert re.fullmatch(pattern, text)


async def test_invented_text_satisfies_choices_and_schema():
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 4},
            "age": {"type": "integer", "minimum": 3, "maximum": 9},
            "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}, "minItems": 2, "maxItems": 3},
            "maybe": {"anyOf": [{"type": "null"}, {"type": "boolean"}]},
        },
        "$defs": {"tag": {"enum": ["x", "y"]}},
    }
    for seed in range(5):
        backend = ramify.FakeBackend(seed=seed)
        assert await text_of(backend, ask(constraint=Choices(("red", "green")))) in ("red", "green")
        value = json.loads(await text_of(backend, ask(constraint=JsonSchema(json.dumps(schema)))))
        assert len(value["name"]) <= 4 and 3 <= value["age"] <= 9 and value["maybe"] in (None, True, False)
        assert 2 <= len(value["tags"]) <= 3 and set(value["tags"]) <= {"x", "y"}


async def test_a_constraint_never_fails_open():
    with pytest.raises(ramify.errors.DeadEndError, match="does not satisfy"):
        await text_of(ramify.FakeBackend(["maybe"]), ask(constraint=Regex("yes|no")))
    with pytest.raises(ramify.errors.TruncationError) as caught:
        await text_of(ramify.FakeBackend(["12345"]), ask(constraint=Regex(r"\d+"), max_tokens=3))
    assert caught.value.partial == "123"
    with pytest.raises(ramify.ConstraintError, match="script"):
        await text_of(ramify.FakeBackend(), ask(constraint=Grammar('start: "a"')))
    assert await text_of(ramify.FakeBackend(["12345"]), ask(constraint=Regex(r"\d+"), max_tokens=5)) == "12345"


async def test_samples_are_streamed_side_by_side():
    chunks = await chunks_of(ramify.FakeBackend([["first", "other"]], piece_len=2), ask(n=2))
    assert [chunk.index for chunk in chunks[:4]] == [0, 1, 0, 1]
    by_index = ["".join(c.text for c in chunks if c.index == i) for i in (0, 1)]
    assert by_index == ["first", "other"]
    assert sum(chunk.finish is not None for chunk in chunks) == 2
    invented = await chunks_of(ramify.FakeBackend(), ask(n=2))
    assert len({"".join(c.text for c in invented if c.index == i) for i in (0, 1)}) == 2
    with pytest.raises(ramify.BackendError, match="3 samples to a request for 2"):
        await text_of(ramify.FakeBackend([["a", "b", "c"]]), ask(n=2))


async def test_logprobs_are_plausible_and_the_same_every_time():
    request = ask("ab", logprobs=2, prompt_logprobs=1)
    chunks = await chunks_of(ramify.FakeBackend(["xyz"]), request)
    entries = [entry for chunk in chunks for entry in chunk.logprobs]
    assert [entry.text for entry in entries] == ["x", "y", "z", ""]
    for entry in entries:
        assert entry.logprob < 0 and len(entry.top) == 2 and entry.top[0] == (entry.token_id, entry.logprob)
        assert entry.top[0][1] > entry.top[1][1]
    assert [entry.logprob is None for entry in chunks[0].prompt_logprobs] == [True, False]
    again = await chunks_of(ramify.FakeBackend(["xyz"]), request)
    assert [entry for chunk in again for entry in chunk.logprobs] == entries


async def test_scores_follow_the_script_and_are_deterministic_otherwise():
    request = ScoreRequest(prompt=(Text("Is it?"),), choices=("yes", "no"), unconditional=True)
    yes, no = await ramify.FakeBackend(scores={"no": -0.1, "yes": [-1, -2, -3]}).score(request)
    assert (yes.logprobs, no.logprobs) == ((-1.0, -2.0, -3.0), (-0.1, -0.1))
    assert len(yes.unconditional) == len(yes.token_ids) == 3
    first, again = await ramify.FakeBackend().score(request), await ramify.FakeBackend().score(request)
    assert first == again
    assert all(-6 < value < -3 for score in first for value in score.logprobs)
    with pytest.raises(ramify.BackendError, match="2 values"):
        await ramify.FakeBackend(scores={"yes": [-1, -2]}).score(request)


@pytest.mark.parametrize("failure", [ramify.DeadlineError("late"), (5, ramify.DeadlineError("late"))])
async def test_scripted_failures(failure):
    backend = ramify.FakeBackend(["fine", "a long answer"], failures={1: failure})
    assert await text_of(backend, ask()) == "fine"
    streamed = ""
    with pytest.raises(ramify.DeadlineError, match="late"):
        async for chunk in backend.generate(ask()):
            assert chunk.finish is None
            streamed += chunk.text
    assert streamed == ("a lon" if isinstance(failure, tuple) else "")
    assert backend.aborted == [] and backend.in_flight == 0


async def test_an_error_in_the_script_is_raised():
    with pytest.raises(ramify.CapacityError, match="too big"):
        await text_of(ramify.FakeBackend([ramify.CapacityError("too big")]), ask())


async def test_closing_or_cancelling_is_recorded_as_an_abort():
    backend = ramify.FakeBackend(["a long answer", "another one", "third"], piece_delay=0.01)
    stream = backend.generate(ask("first"))
    await anext(stream)
    assert backend.in_flight == 1
    await stream.aclose()
    task = asyncio.create_task(text_of(backend, ask("second")))
    await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await text_of(backend, ask("third"))
    assert [request.prompt[0].text for request in backend.aborted] == ["first", "second"]
    assert backend.in_flight == 0


async def test_leaving_after_the_last_chunk_is_no_abort():
    backend = ramify.FakeBackend(["abc"])
    stream = backend.generate(ask())
    async for chunk in stream:
        if chunk.finish is not None:
            break
    await stream.aclose()
    assert backend.aborted == []


async def test_requests_in_flight_are_counted():
    backend = ramify.FakeBackend(delay=0.01)
    request = ScoreRequest(prompt=(Text("p"),), choices=("a", "b"))
    await asyncio.gather(*(text_of(backend, ask(str(i))) for i in range(3)), backend.score(request))
    assert (backend.max_in_flight, backend.in_flight) == (4, 0)
    assert (len(backend.requests), len(backend.score_requests)) == (3, 1)
    assert sorted(backend.prompts) == ["0", "1", "2"]


async def test_the_deadline_of_a_request_is_kept():
    backend = ramify.FakeBackend(["abcdefgh"], piece_delay=5)
    with pytest.raises(ramify.DeadlineError, match=r"0\.01 s") as caught:
        await text_of(backend, ask(hints=Hints(timeout=0.01)))
    assert caught.value.partial == "abcd"


async def test_usage_counts_what_a_prefix_cache_would_have_held():
    backend = ramify.FakeBackend(["xyz"] * 4)
    first = (await chunks_of(backend, ask("abcd")))[-1].usage
    again = (await chunks_of(backend, ask("abcd")))[-1].usage
    longer = (await chunks_of(backend, ask("abcdxyQ")))[-1].usage
    salted = (await chunks_of(backend, ask("abcd", hints=Hints(cache_salt="tenant"))))[-1].usage
    assert [usage.cached_tokens for usage in (first, again, longer, salted)] == [0, 3, 6, 0]
    assert first.prompt_tokens == 4
    stats = backend.stats()
    assert (stats.prompt_tokens, stats.cached_tokens, stats.completion_tokens) == (4 + 4 + 7 + 4, 9, 16)


async def test_token_pieces_are_counted_as_they_are():
    backend = ramify.FakeBackend(["x"])
    prompt = (Text("ab"), Tokens((7, 8, 9), "zz"), Text("c"))
    assert (await chunks_of(backend, Request(prompt=prompt)))[-1].usage.prompt_tokens == 6
    assert backend.prompts == ["abzzc"]


async def test_bad_requests_are_refused():
    with pytest.raises(ramify.PromptError, match="empty"):
        await text_of(ramify.FakeBackend(), ask(""))
    small = ramify.FakeBackend(capabilities=Capabilities(model="small", context_len=3))
    with pytest.raises(ramify.PromptError, match="4 tokens"):
        await text_of(small, ask("abcd"))
    with pytest.raises(ramify.UnsupportedError, match="regex"):
        await text_of(small, ask("ab", constraint=Regex("a")))
    with pytest.raises(ramify.ParameterError, match=r"\['Paris'\]"):
        ramify.FakeBackend("Paris")


async def test_a_closed_backend_refuses_and_ends_its_streams():
    backend = ramify.FakeBackend(["abcdefgh"])
    stream = backend.generate(ask())
    await anext(stream)
    await backend.close()
    with pytest.raises(ramify.ClosedError):
        await anext(stream)
    with pytest.raises(ramify.ClosedError):
        await text_of(backend, ask())
    with pytest.raises(ramify.ClosedError):
        await backend.score(ScoreRequest(prompt=(Text("p"),), choices=("a",)))
