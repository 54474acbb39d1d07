"""Behaviour that a front end of this kind has been seen to get wrong, one test for each; ours must not."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import threading
from dataclasses import replace

import pytest

import ramify
from ramify import FakeBackend, function, gen, select
from ramify.backend.api import ChatTemplate
from ramify.backend.fake import CAPABILITIES

BOOM = ramify.BackendError("boom")


def test_01_a_backend_error_is_raised_by_run_and_reported_by_run_batch():
    @function
    def program(s, x):
        s += x + gen("a")

    with pytest.raises(ramify.GenError, match="boom"):
        program.run("x", backend=FakeBackend(failures={0: BOOM}))
    rows = program.run_batch([{"x": "x"}, {"x": "y"}], backend=FakeBackend(failures={0: BOOM}), concurrency=1)
    assert [row.ok for row in rows] == [False, True]
    assert isinstance(rows[0].error, ramify.GenError)


@pytest.mark.parametrize("read", [lambda s: s.text(), lambda s: s["b"], lambda s: s.messages(), lambda s: s.meta("b")])
def test_02_what_follows_a_failure_does_not_hang(read):
    @function
    def program(s):
        s += "x" + gen("a")
        s += "y" + gen("b")
        read(s)

    for run in (program.run, program.stream):
        with pytest.raises(ramify.GenError, match="gen 'a'"):
            result = run(backend=FakeBackend(failures={0: BOOM}, delay=0.01))
            if run == program.stream:
                list(result.text_iter())
    rows = program.run_batch([{}] * 3, backend=FakeBackend(failures=dict.fromkeys(range(3), BOOM)))
    assert [type(row.error) for row in rows] == [ramify.GenError] * 3


def test_03_a_stop_list_is_never_changed_and_does_not_grow():
    stop, bias, choices, schema = ["\n"], {1: -1.0}, ["a", "b"], {"type": "null"}
    backend = FakeBackend()

    @function(stop=stop)
    def program(s):
        for i in range(3):
            s += ramify.assistant(gen(f"a{i}", stop=stop, logit_bias=bias) + gen(f"b{i}") + select(f"c{i}", choices))
        s += gen("d", json_schema=schema)

    program.run(backend=backend)
    assert (stop, bias, choices, schema) == (["\n"], {1: -1.0}, ["a", "b"], {"type": "null"})
    assert {request.sampling.stop for request in backend.requests} == {("\n",)}


def test_04_a_typed_gen_takes_a_stop_string():
    @function
    def program(s):
        s += "x" + gen("n", type=int, stop=".") + gen("m", type=int, stop=[".", "!"])

    result = program.run(backend=FakeBackend(["12", "7"]))
    assert (result["n"], result["m"]) == (12, 7)


def test_05_several_samples_work():
    @function
    def program(s):
        s += "x" + gen("v", n=3, regex="[ab]")
        return s["v"]

    result = program.run(backend=FakeBackend([["a", "b", "a"]]))
    assert result.value == ("a", "b", "a") and len(result.meta("v").samples) == 3


def test_06_explicit_arguments_go_before_bound_ones_and_nothing_is_mutated():
    @function
    def program(s, x, y=0):
        return x, y

    bound = program.bind(x=1, y=2)
    arguments = {"x": 5}
    assert bound.run(**arguments, backend=FakeBackend()).value == (5, 2)
    assert bound.run(7, backend=FakeBackend()).value == (7, 2)
    assert [row.value.value for row in bound.run_batch([arguments, {"y": 9}], backend=FakeBackend())] == [
        (5, 2),
        (1, 9),
    ]
    assert arguments == {"x": 5}


def test_07_run_batch_runs_each_body_once_and_traces_nothing_first():
    effects = []
    table = {1: "one"}

    @function
    def program(s, key):
        effects.append(key)
        assert key in table
        number = key + 1
        while number < 3:
            number += 1
        s += table[key] + gen("a")

    assert all(row.ok for row in program.run_batch([{"key": 1}] * 4, backend=FakeBackend()))
    assert effects == [1] * 4


def test_08_tracing_in_one_thread_leaves_programs_in_another_alone():
    inside, release = threading.Event(), threading.Event()

    @function
    def slow(s):
        inside.set()
        assert release.wait(10)
        s += gen("a")

    @function
    def quick(s):
        s += "x" + gen("b")
        return s["b"]

    graphs = []
    thread = threading.Thread(target=lambda: graphs.append(slow.trace()))
    thread.start()
    assert inside.wait(10)
    try:
        assert quick.run(backend=FakeBackend(["B"])).value == "B"
    finally:
        release.set()
        thread.join(10)
    assert len(graphs[0].nodes) == 1


def test_09_roles_scopes_joins_and_variables_trace():
    @function
    def program(s):
        with s.user():
            s += "q"
        with s.assistant(), s.var_scope("all"):
            branches = s.fork(2)
            branches += gen("v")
            s.join(branches)
            s += s["v"][0]
        s += ramify.user(s["all"])

    graph = program.trace()
    graph.verify()
    backend = FakeBackend({"assistant.>$": "A"})
    assert program.run(backend=backend).text().endswith("<|assistant|>A<|end|>\n<|user|>A<|end|>\n")


def test_10_an_exception_inside_a_role_closes_it():
    @function
    def program(s):
        for name in ("first", "second"):
            with contextlib.suppress(LookupError), s.user():
                s += name
                raise LookupError
        with contextlib.suppress(LookupError), s.var_scope("scope"):
            raise LookupError
        with contextlib.suppress(ramify.RoleError):
            s += ramify.user("third" + ramify.system("no"))
        s += ramify.assistant(gen("a"))

    result = program.run(backend=FakeBackend(["A"]))
    assert [message["content"] for message in result.messages()] == ["first", "second", "third", "A"]


@pytest.mark.parametrize("piece_len", [1, 3, 100])
def test_11_text_around_the_gens_of_a_message_is_neither_lost_nor_doubled(piece_len):
    @function
    def program(s):
        s += "outside " + ramify.user("q")
        s += ramify.assistant("before " + gen("a", stop="!") + " between " + gen("b") + " after")
        s += "end"

    stream = program.stream(backend=FakeBackend(["first!", "second"], piece_len=piece_len))
    whole = "".join(stream.text_iter())
    message = "before first between second after"
    assert whole == f"outside <|user|>q<|end|>\n<|assistant|>{message}<|end|>\nend" == stream.text()
    assert stream.messages()[1] == {"role": "assistant", "content": message}
    assert "".join(stream.text_iter("a")) == "first" and "".join(stream.text_iter("b")) == "second"


def test_12_limits_count_tokens():
    @function
    def program(s):
        s += "x" + gen("a", max_tokens=5) + select("b", ["yes", "no"]) + gen("c", max_tokens=2)

    answers = FakeBackend(["abcdefghijklmnopqrstuvwxyz"] * 2, token_len=3, scores={"no": -0.1})
    result = program.run(backend=answers)
    assert (result["a"], result["c"]) == ("abcdefghijklmno", "abcdef")
    assert (result.meta("a").completion_tokens, result.meta("a").finish_reason) == (5, "length")
    assert result.text() == "xabcdefghijklmnonoabcdef"  # nothing of an answer's unused rest comes back later


def test_12_branches_keep_what_stood_before_and_chats_on_one_backend_do_not_mix():
    backend = FakeBackend(lambda request: request.prompt[-2].text.strip(), delay=0.01)

    @function
    def chat(s, name):
        s += ramify.system(f"You are {name}.")
        for turn in range(3):
            s += ramify.user(f"{name} {turn}")
            with s.assistant():
                branches = s.fork(2)
                for branch in branches:
                    branch += f"[{name}]" + gen("v", max_tokens=4)
                s += gen(f"a{turn}")

    names = [f"user-{i}" for i in range(12)]
    rows = chat.run_batch([{"name": name} for name in names], backend=backend)
    for name, row in zip(names, rows, strict=True):
        assert [row.value[f"a{turn}"] for turn in range(3)] == [f"{name} {turn}" for turn in range(3)]
    for prompt in backend.prompts:
        assert len({name for name in names if f"You are {name}." in prompt or f"[{name}]" in prompt}) == 1
    assert sum(prompt.endswith("]") for prompt in backend.prompts) == 12 * 3 * 2


def test_13_waiting_for_a_streamed_variable_costs_nothing_and_blocks_no_loop():
    @function
    def program(s):
        s += "x" + gen("slow") + gen("late")

    def processor_time():
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return usage.ru_utime + usage.ru_stime

    before = processor_time()
    assert "".join(program.stream(backend=FakeBackend(["a", "b"], delay=0.4)).text_iter("late")) == "b"

    async def main():
        stream = program.astream(backend=FakeBackend(["a", "b"], delay=0.4))
        reader = asyncio.create_task(anext(stream.text_iter("late")))
        for _ in range(10):
            await asyncio.sleep(0.01)
        assert not reader.done()
        return await reader

    assert asyncio.run(main()) == "b"
    assert processor_time() - before < 0.6


def test_14_the_system_message_is_there_for_every_gen():
    backend = FakeBackend()

    @function
    def program(s):
        s += ramify.system("SYS")
        for i in range(3):
            s += ramify.user("u") + ramify.assistant(gen(f"a{i}", max_tokens=3))

    result = program.run(backend=backend)
    assert all(prompt.count("SYS") == 1 for prompt in backend.prompts)
    assert result.messages()[0] == {"role": "system", "content": "SYS"}


def test_15_every_call_has_its_own_time_limit_and_leaves_nothing_behind():
    backend = FakeBackend(
        lambda request: "done", delay=lambda request: 30 if "slow" in request.prompt[0].text else 0.05
    )

    @function
    def program(s, word):
        s += word + gen("a")

    with pytest.raises(ramify.DeadlineError, match=r"timeout of 0\.1 s"):
        program.run("slow", timeout=0.1, backend=backend)
    assert program.run("quick", timeout=20, backend=backend)["a"] == "done"
    assert program.run("quick", backend=backend)["a"] == "done"
    assert (len(backend.requests), len(backend.aborted), backend.in_flight) == (3, 1, 0)


def test_16_join_gathers_and_what_it_gathers_can_be_appended():
    @function
    def program(s):
        s += "r"
        branches = s.fork(3)
        for i, branch in enumerate(branches):
            branch += str(i) + gen("v")
        s.join(branches)
        s += "+".join(s["v"]) + gen("after")

    backend = FakeBackend({"r0$": "a", "r1$": "b", "r2$": "c", r"ra\+b\+c$": "!"})
    assert program.run(backend=backend).text() == "ra+b+c!"


@pytest.mark.parametrize("piece_len", [1, 2, 5, 100])
def test_17_streamed_text_is_complete_and_so_are_the_logprobs_that_came_with_it(piece_len):
    answer = "a longer answer, in pieces"

    @function
    def program(s):
        s += "x" + gen("a", logprobs=2) + "y" + gen("b", stop="wer")

    stream = program.stream(backend=FakeBackend([answer, answer], piece_len=piece_len, token_len=2))
    deltas = list(stream)
    for name, text in (("a", answer), ("b", "a longer ans")):
        assert "".join(delta.text for delta in deltas if delta.variable == name) == text == stream[name]
        assert "".join(stream.text_iter(name)) == text
    assert "".join(stream.text_iter()) == f"x{answer}ya longer ans" == stream.text()
    meta = stream.meta("a")
    assert "".join(entry.text for entry in meta.logprobs) == answer
    assert [entry.token_id for entry in meta.logprobs] == list(meta.token_ids)
    assert all(len(entry.top) == 2 for entry in meta.logprobs)


def test_18_values_that_are_not_known_never_pass_for_values():
    graphless = function(lambda s, x: bool(x))
    with pytest.raises(ramify.TraceError):
        graphless.trace()
    with pytest.raises(ramify.TraceError):
        function(lambda s, x: int(x)).trace()


def test_19_names_are_unique_unnamed_gens_are_apart_and_samples_are_chosen_on_purpose():
    with pytest.raises(ramify.VariableError, match="defined twice"):
        function(lambda s: s.__iadd__("x").__iadd__(gen("a")).__iadd__(gen("a"))).run(backend=FakeBackend())

    @function
    def unnamed(s):
        s += "x" + gen() + "y" + gen()

    result = unnamed.run(backend=FakeBackend(["1", "2"]))
    assert result.text() == "x1y2" and dict(result) == {}
    with pytest.raises(ramify.ProgramError, match="which sample"):
        function(lambda s: s.__iadd__("x").__iadd__(gen("a", n=2)).__iadd__("y")).run(backend=FakeBackend())


def test_choices_are_scored_by_their_own_tokens_in_one_call():
    scores = {"a": [-1.0], "bb": [-0.5, -0.5]}
    for method in ("token_length_normalized", "greedy_token_selection", "unconditional_likelihood_normalized"):
        backend = FakeBackend(scores=scores)

        @function
        def program(s, method=method):
            s += "Wow!!" + select("c", ["a", "bb"], method=method)

        result = program.run(backend=backend)
        assert len(backend.score_requests) == 1 and backend.requests == []
        assert [row.logprobs for row in result.meta("c").scores] == [(-1.0,), (-0.5, -0.5)]
        if method != "unconditional_likelihood_normalized":
            assert result["c"] == "bb"


def test_chat_markup_comes_from_the_template_and_not_from_the_models_name():
    template = ChatTemplate(source="{% for m in messages %}[{{ m.role }}]{{ m.content }}[/]{% endfor %}")
    backend = FakeBackend(capabilities=replace(CAPABILITIES, model="vicuna-7b-chatml-llama-2", chat_template=template))
    assert function(lambda s: s.__iadd__(ramify.user("hi"))).run(backend=backend).text() == "[user]hi[/]"
