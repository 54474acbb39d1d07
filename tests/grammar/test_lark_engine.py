"""Grammars inside the engine: what a random model writes under them parses, whatever else is in the batch."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import lark
import pytest

import ramify
from ramify.backend import registry
from ramify.lang.constraints import Grammar

GRAMMARS = {
    "json": r"""
        start: object
        object: "{" pair ("," pair)* "}"
        pair: KEY ":" value
        ?value: object | KEY | INT | "true" | "false" | "[" [value ("," value)*] "]"
        KEY: /"[a-zé漢]{1,8}"/
        %import common.INT
        %ignore /[ \n]{1,2}/
    """,
    "query": r"""
        start: "SELECT" NAME ("," NAME)* "FROM" NAME ["WHERE" NAME ("=" | "<") INT]
        NAME: /[a-z]{1,6}/
        %import common.INT
        %ignore " "
    """,
    "sum": r"""
        start: start ("+" | "-") term | term
        ?term: /[0-9]{1,3}/ | "(" start ")"
    """,
}


@pytest.fixture(scope="module")
def engine(model_folder: Path) -> Iterator[ramify.Engine]:
    with ramify.Engine(model_folder, max_total_tokens=4096, max_running=16, chunked_prefill_size=32) as made:
        yield made


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_what_a_random_model_writes_parses(engine: ramify.Engine, temperature: float) -> None:
    wanted = [(name, seed) for seed in range(12) for name in [*GRAMMARS, None]]

    async def ask(name: str | None, seed: int) -> Any:
        constraint = None if name is None else Grammar(GRAMMARS[name])
        return await engine.agenerate(
            f"low {seed} ", constraint=constraint, temperature=temperature, seed=seed, max_tokens=100
        )

    async def ask_all() -> list[Any]:
        return await asyncio.gather(*(ask(*case) for case in wanted))

    together = asyncio.run(ask_all())
    num_finished = 0
    for (name, seed), answer in zip(wanted, together, strict=True):
        if name is not None and answer.finish_reason == "stop":
            lark.Lark(GRAMMARS[name], parser="lalr", lexer="contextual").parse(answer.text)
            num_finished += 1
        if seed % 4 == 0:
            alone = asyncio.run(ask(name, seed))
            assert (alone.text, alone.token_ids) == (answer.text, answer.token_ids)
    assert num_finished >= 12


def test_a_gen_takes_a_grammar(engine: ramify.Engine) -> None:
    @ramify.function(temperature=1.0, max_tokens=120)
    def total(s: Any) -> Any:
        s += "What is it? " + ramify.gen("sum", grammar=GRAMMARS["sum"], seed=3)
        return s["sum"]

    with ramify.use(engine):
        text = total.run().value
    lark.Lark(GRAMMARS["sum"], parser="lalr", lexer="contextual").parse(text)


def test_a_broken_grammar_is_refused_where_the_gen_is_written(engine: ramify.Engine) -> None:
    with pytest.raises(ramify.ConstraintError, match="line 2 column 7"):
        ramify.gen("x", grammar='start: "a"\nrule: %')
    with pytest.raises(ramify.ConstraintError, match="Reduce/Reduce"):
        engine.generate("", constraint=Grammar('start: a | b\na: "x"\nb: "x"'))


def test_forced_text_is_all_that_can_follow(bpe_tools: Any) -> None:
    plugin = registry.load("grammars", "lark")
    free = replace(bpe_tools.vocabulary, tokenize=None)
    forcing, plain = plugin(bpe_tools.vocabulary), plugin(free)
    spelled = free.token_bytes
    num_forced = 0
    try:
        for text in GRAMMARS.values():
            first, second = (compiler.compile(Grammar(text), timeout=10) for compiler in (forcing, plain))
            for seed in range(8):
                rng, matcher, other = random.Random(seed), first.matcher(), second.matcher()
                for _ in range(40):
                    run = matcher.forced()
                    legal = bpe_tools.legal_tokens(matcher)
                    if run:
                        num_forced += 1
                        rest = b"".join(spelled[token] for token in run)
                        assert legal == {run[0]} and not other.can_stop
                        for token in bpe_tools.legal_tokens(other):
                            assert rest.startswith(spelled[token]) or spelled[token].startswith(rest)
                    else:
                        assert legal == bpe_tools.legal_tokens(other)
                    token = rng.choice(sorted(legal))
                    assert matcher.accept(token) and other.accept(token)
                    if matcher.is_terminated:
                        break
    finally:
        forcing.close()
        plain.close()
    assert num_forced > 20
