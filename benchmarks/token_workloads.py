"""The workloads of SGLang's benchmark folder as token counts, with fewer items: what each program shares is as there.

Lengths are those of the published scripts (shots, `max_tokens`, forks, turns); what they leave open is drawn from a
range around what their data sets have. Each `scale` of 1 replays for well under a second.
"""

from __future__ import annotations

import random
from dataclasses import replace

from token_programs import Program, Segment, Texts, TokenWorkload, Writer

TOOL_DELAY = 2000  # units of work a tool takes: some ten forwards


def mmlu(scale: float) -> TokenWorkload:
    """5-shot: a prefix per subject, one new token a question."""
    texts, programs = Texts("mmlu"), []
    header = texts.text(12)
    for _ in range(_times(10, scale)):
        shots = texts.text(300, 1500)
        for _ in range(20):
            programs.append(_single(texts, [header, shots, texts.text(40, 180)], 1))
    return TokenWorkload(name="MMLU, 5 shots", programs=tuple(programs), concurrency=64)


def hellaswag(scale: float) -> TokenWorkload:
    """20-shot: one prefix, a select over four endings."""
    texts, programs = Texts("hellaswag"), []
    shots = texts.text(1800)
    for _ in range(_times(80, scale)):
        writer = Writer(texts)
        writer.branch(shots, texts.text(30, 100)).select(texts.texts(4, 8, 40))
        programs.append(writer.program())
    return TokenWorkload(name="HellaSwag, 20 shots", programs=tuple(programs), concurrency=64)


def react(scale: float) -> TokenWorkload:
    """Six worked examples, then thought and action, observation, and so on; a tool answers after a while."""
    texts, programs = Texts("react"), []
    shots = texts.text(1700)
    for _ in range(_times(30, scale)):
        writer = Writer(texts)
        branch = writer.branch(shots, texts.text(15, 40))
        for step in range(texts.random.randint(3, 7)):
            if step:
                branch.say(texts.text(50, 150), delay=TOOL_DELAY)
            branch.gen(30, 80)
        programs.append(writer.program())
    return TokenWorkload(name="ReAct", programs=tuple(programs), concurrency=16)


def generative_agents(scale: float) -> TokenWorkload:
    """Five prompt functions with their own instructions, one call after the other."""
    texts = Texts("agents")
    functions = [texts.text(length) for length in (220, 330, 90, 520, 410)]
    prompts = [[texts.random.choice(functions), texts.text(20, 50)] for _ in range(_times(150, scale))]
    programs = [_single(texts, prompt, texts.random.randint(4, 20)) for prompt in prompts]
    return TokenWorkload(name="Generative agents", programs=tuple(programs), concurrency=1)


def tree_of_thought(scale: float) -> TokenWorkload:
    """Two branches at each of four levels: plan, execute, reflect, answer."""
    texts, programs = Texts("tree"), []
    plan, *steps = texts.text(40), texts.text(30), texts.text(45), texts.text(20)
    for _ in range(_times(12, scale)):
        writer = Writer(texts)
        level = writer.branch(plan, texts.text(40, 120)).fork(2)
        for step in steps:
            for branch in level:
                branch.gen(50, 150)
            level = [child for branch in level for child in branch.fork(2)]
            for branch in level:
                branch.say(step)
        for branch in level:
            branch.gen(20, 80)
        programs.append(writer.program())
    return TokenWorkload(name="Tree of thought", programs=tuple(programs), concurrency=8)


def skeleton_of_thought(scale: float) -> TokenWorkload:
    """Five short tips in a row, each expanded by a program of its own with three examples, and a summary."""
    texts, programs = Texts("skeleton"), []
    ask, examples, go_on, newline = texts.text(45), texts.text(380), texts.text(10), texts.text(2)
    for _ in range(_times(24, scale)):
        writer, topic = Writer(texts), texts.text(4, 10)
        main = writer.branch(ask, topic, go_on)
        tips = []
        for _ in range(5):
            tips.append(main.gen(6, 24))
            main.say(newline)
        expansions = [writer.branch(examples, topic, newline, tip, newline) for tip in tips]
        for expansion in expansions:
            main.say(newline, expansion.gen(60, 128))
        main.gen(100, 250)
        programs.append(writer.program())
    return TokenWorkload(name="Skeleton of thought", programs=tuple(programs), concurrency=16)


def llm_judge(scale: float) -> TokenWorkload:
    """An article, a fork for each of six dimensions, a summary of what they said, a grade of two tokens."""
    texts, programs = Texts("judge"), []
    rules, summarise, grade = texts.text(60), texts.text(12), texts.text(9)
    dimensions = texts.texts(6, 25, 45)
    for _ in range(_times(20, scale)):
        writer = Writer(texts)
        main = writer.branch(rules, texts.text(300, 900))
        branches = main.fork(6)
        judgments = []
        for branch, dimension in zip(branches, dimensions, strict=True):
            branch.say(dimension)
            judgments.append(branch.gen(60, 200))
        main.say(*judgments, summarise)
        main.gen(100, 256)
        main.say(grade)
        main.gen(2)
        programs.append(writer.program())
    return TokenWorkload(name="LLM judge", programs=tuple(programs), concurrency=20)


def json_fields(scale: float) -> TokenWorkload:
    """A document, then a record filled in field by field."""
    texts, programs = Texts("json"), []
    task, keys = texts.text(90), texts.texts(8, 3, 7)
    for _ in range(_times(40, scale)):
        writer = Writer(texts)
        branch = writer.branch(task, texts.text(150, 600))
        for key in keys:
            branch.say(key)
            branch.gen(3, 24)
        programs.append(writer.program())
    return TokenWorkload(name="JSON, field by field", programs=tuple(programs), concurrency=32)


def short_turns(scale: float) -> TokenWorkload:
    """Conversations of four turns that share nothing, with short answers."""
    return _conversations("Multi-turn, short", scale, 4, 8)


def long_turns(scale: float) -> TokenWorkload:
    """The same with long answers."""
    return _conversations("Multi-turn, long", scale, 256, 512)


def _conversations(name: str, scale: float, shortest: int, longest: int) -> TokenWorkload:
    texts, programs = Texts(name), []
    for _ in range(_times(20, scale)):
        writer = Writer(texts)
        branch = writer.branch()
        for _ in range(4):
            branch.say(texts.text(256, 512))
            branch.gen(shortest, longest)
        programs.append(writer.program())
    return TokenWorkload(name=name, programs=tuple(programs), concurrency=20)


def retrieval(scale: float) -> TokenWorkload:
    """Two hops that write a query each and read what a search returns, then an answer; two prompt templates."""
    texts, programs = Texts("retrieval"), []
    query_shots, answer_shots = texts.text(550), texts.text(850)
    for _ in range(_times(40, scale)):
        writer, question = Writer(texts), texts.text(15, 35)
        query = writer.branch(query_shots, question).gen(20, 50)
        found = texts.texts(2, 60, 120)
        second = writer.branch(query_shots, *found, question)
        second.wait_for(query, TOOL_DELAY)
        query = second.gen(20, 50)
        found += texts.texts(2, 60, 120)
        answer = writer.branch(answer_shots, *found, question)
        answer.wait_for(query, TOOL_DELAY)
        answer.gen(20, 60)
        programs.append(writer.program())
    return TokenWorkload(name="Retrieval, two hops", programs=tuple(programs), concurrency=16)


def in_batch_prefix(scale: float) -> TokenWorkload:
    """Ten prefixes of 1,024 tokens, 32 samples each in random order, one new token."""
    texts = Texts("in-batch")
    prompts = [[prefix, texts.text(128)] for prefix in texts.texts(_times(10, scale), 1024) for _ in range(32)]
    texts.random.shuffle(prompts)
    programs = [_single(texts, prompt, 1) for prompt in prompts]
    return TokenWorkload(name="In-batch prefix", programs=tuple(programs), concurrency=len(programs))


def mixed(workloads: list[TokenWorkload]) -> TokenWorkload:
    """The programs of several workloads at once, in random order: long and short, wide and deep."""
    programs = [_renumbered(program, index) for index, work in enumerate(workloads) for program in work.programs]
    random.Random("mixed").shuffle(programs)
    return TokenWorkload(name="Mixed", programs=tuple(programs), concurrency=48)


def all_workloads(scale: float = 1.0) -> list[TokenWorkload]:
    """Return all of them; `scale` multiplies the number of items."""
    programs_of_many_calls = (react, tree_of_thought, skeleton_of_thought, llm_judge, json_fields, long_turns)
    return [
        mmlu(scale),
        hellaswag(scale),
        react(scale),
        generative_agents(scale),
        tree_of_thought(scale),
        skeleton_of_thought(scale),
        llm_judge(scale),
        json_fields(scale),
        short_turns(scale),
        long_turns(scale),
        retrieval(scale),
        in_batch_prefix(scale),
        mixed([make(scale / 2) for make in programs_of_many_calls]),
    ]


def _single(texts: Texts, prompt: list[Segment], num_new: int) -> Program:
    """A program of one call."""
    writer = Writer(texts)
    writer.branch(*prompt).gen(num_new)
    return writer.program()


def _renumbered(program: Program, index: int) -> Program:
    """The program with segments that no other workload has."""

    def moved(text: Segment) -> Segment:
        return Segment(text.number + index * 1_000_000, text.length)

    return tuple(
        replace(call, prompt=tuple(moved(text) for text in call.prompt), output=moved(call.output)) for call in program
    )


def _times(num: int, scale: float) -> int:
    return max(1, round(num * scale))
