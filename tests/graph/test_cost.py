"""What a graph costs is known before it runs: the counts are those that the engine then reports."""

from __future__ import annotations

import pytest

import ramify
from ramify import function, gen, select
from ramify.backend.api import Text

EXACT = {"max_tokens": 7, "ignore_eos": True, "temperature": 0}


@pytest.fixture(scope="module")
def engine():
    with ramify.Engine(num_threads=1) as engine:
        yield engine


@function(**EXACT)
def tree(s, topic):
    s += ramify.system("You are brief and kind.") + ramify.user(f"Tell me about {topic}, please.")
    with s.assistant():
        s += "Well: " + gen("first") + " And so on. "
        tips = s.fork(3)
        for i, tip in enumerate(tips):
            tip += f"Tip number {i} is: " + gen("tip") + " because " + gen("why")
            deeper = tip.fork(2)
            deeper += " Or " + gen("or")
        s += "In short: " + gen("short", n=2)
        s.keep("short", 0)
    s += ramify.user("Thanks!") + ramify.assistant(gen("bye"))


@function(**EXACT)
def chain(s, topic):
    for i in range(4):
        s += f"{topic} {i}: " + gen(f"x{i}") + "\n"


def measured(program, engine, **arguments):
    engine.flush_cache()
    before = engine.stats()
    program.compile(**arguments).run(backend=engine)
    after = engine.stats()
    prompt = after.prompt_tokens - before.prompt_tokens
    return prompt, prompt - (after.cached_tokens - before.cached_tokens)


@pytest.mark.parametrize("program", [tree, chain], ids=["tree", "chain"])
def test_counts_are_those_of_the_engine(program, engine):
    cost = program.compile(topic="cats and dogs").cost(engine)
    prompt, computed = measured(program, engine, topic="cats and dogs")
    assert (cost.prompt_tokens, cost.computed_tokens) == (prompt, computed)
    assert cost.generated_tokens == 7 * cost.requests
    assert cost.shared > 0.4 and cost.longest > 60


@pytest.mark.parametrize("program", [tree, chain], ids=["tree", "chain"])
def test_a_batch_costs_what_the_engine_computes_for_it(program, engine):
    rows = [{"topic": topic} for topic in ("cats and dogs", "cats and mice", "cars")]
    graph = program.compile()
    cost = graph.batch_cost(rows, engine)
    engine.flush_cache()
    before = engine.stats()
    assert all(isinstance(row, ramify.Ok) for row in graph.run_batch(rows, backend=engine, concurrency=1))
    after = engine.stats()
    assert cost.prompt_tokens == after.prompt_tokens - before.prompt_tokens
    cached = after.cached_tokens - before.cached_tokens
    assert cost.computed_tokens == cost.prompt_tokens - cached
    assert cost.prompt_tokens == sum(graph.bind(**row).cost(engine).prompt_tokens for row in rows)
    assert cost.computed_tokens < sum(graph.bind(**row).cost(engine).computed_tokens for row in rows)


def test_the_common_prefix_is_counted_in_tokens(engine):
    """Two texts that part within a word part before that word's token, whatever characters they share."""

    @function(**EXACT)
    def ask(s, question):
        s += "Tell me the name of the " + question + gen("answer")

    rows = [{"question": "elephant and the lion"}, {"question": "elevator"}]
    encode = engine.tokenizer.encode_prompt
    first, second = (encode((Text("Tell me the name of the " + row["question"]),)) for row in rows)
    same = next(i for i, (one, other) in enumerate(zip(first, second, strict=False)) if one != other)
    cost = ask.compile().batch_cost(rows, engine)
    assert cost.common_prefix == same > 0
    alone = ask.compile().batch_cost(rows[:1], engine)
    assert alone.common_prefix == len(first)
    assert ask.compile().batch_cost([], engine).common_prefix == 0


def test_a_select_scores_each_choice(engine):
    @function
    def program(s):
        s += "The sky is " + select("colour", ["blue", "green", "red as a rose"]) + " and " + gen("x", **EXACT)

    cost = program.compile().cost(engine)
    assert cost.requests == 4
    prompt, _ = measured(program, engine)
    longest = len(engine.tokenizer.encode_text("red as a rose"))  # what it takes to be chosen
    assert 0 <= cost.prompt_tokens - prompt < longest


def test_control_counts_passes_and_the_longest_arm(control_graph):
    words = str.split
    assert control_graph.bind(mode="a", items=["a", "b"], n=3).cost(words).requests == 9
    assert control_graph.cost(words, passes=4).requests == 15
    assert control_graph.cost(words, generated=2).generated_tokens == 2 * control_graph.cost(words).requests
    assert control_graph.cost(words).generated_tokens == 5 * control_graph.cost(words).requests


def test_unknown_values_are_estimated():
    @function
    def program(s, a):
        s += "x " + a + " y " + gen("b", max_tokens=3)
        s += f" {s['b']} " + gen("c", max_tokens=2)

    cost = program.compile().cost(str.split)
    assert (cost.requests, cost.prompt_tokens) == (2, 10 + 10 + 3 + 3)
    assert sum(cost.of_nodes.values()) == 10 + 3


def test_misuse(control_graph):
    with pytest.raises(ramify.ParameterError, match="an engine, a tokenizer or a function"):
        control_graph.cost("gpt-4")
    with pytest.raises(ramify.ParameterError, match="generated must be a number"):
        control_graph.cost(str.split, generated=-1)


def test_tokenizers_of_other_libraries_count_alike(engine):
    graph = tree.compile(topic="cats")
    own = graph.cost(engine.tokenizer)
    theirs = graph.cost(engine.tokenizer.hf.backend_tokenizer)  # of the tokenizers library; it knows no chat template

    class Tokenizer:
        """The face of one of transformers."""

        chat_template = engine.tokenizer.chat_template.source
        special_tokens_map = dict(engine.tokenizer.chat_template.special_tokens)

        def encode(self, text, *, add_special_tokens):
            assert not add_special_tokens
            return engine.tokenizer.hf.backend_tokenizer.encode(text, add_special_tokens=False).ids

    class Ordinary:
        """The face of one of tiktoken."""

        def encode_ordinary(self, text):
            return text.split()

    assert graph.cost(Tokenizer()).prompt_tokens == own.prompt_tokens
    assert theirs.requests == own.requests and theirs.computed_tokens > 0
    assert graph.cost(Ordinary()) == graph.cost(str.split)
