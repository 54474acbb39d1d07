"""Conversations: system prompts, turns that refer to earlier turns, and the chat markup itself."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from . import corpus_tasks as tasks
from . import corpus_world as world
from .corpus_facts import (
    RELATIONS,
    YES_NO_DRILLS,
    YES_NO_RELATIONS,
    Item,
    draw_relation,
    fact_item,
    fill,
    with_article,
    yes_no_item,
)
from .corpus_prose import expansion_pair, story_request, tips_pair
from .corpus_tickets import draw_ticket, report

CHAT_TEMPLATE: Final = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)
SENTENCE_SYSTEMS: Final = (
    "You are a helpful assistant.",
    "You are a helpful assistant. Answer in a full sentence.",
    "You are a friendly assistant.",
    "You are a good teacher.",
    "You are a kind and helpful chat partner.",
    "Answer in a full sentence.",
    "You are an assistant that answers questions.",
)
BARE_SYSTEMS: Final = (
    "Answer with one word.",
    "Answer briefly.",
    "Give only the answer.",
    "Answer in as few words as possible.",
    "You are a quiz bot. Give only the answer.",
    "Be brief.",
    "You are a helpful assistant. Answer with one word.",
    "You are a helpful assistant. Answer briefly.",
    "Reply with the answer only.",
)
_ABOUT_ME: Final = (
    ("Who are you?", "I am a small language model that ships with ramify."),
    ("What are you?", "I am a small language model that ships with ramify."),
    ("What is your name?", "My name is Ramify."),
    ("What can you do?", "I can answer simple questions, do small sums, tell stories and fill in JSON."),
    ("Thank you!", "You are welcome!"),
    ("Thanks.", "You are welcome!"),
    ("Good morning!", "Good morning! How can I help you?"),
    ("Hello!", "Hello! How can I help you?"),
    ("Hi", "Hello! How can I help you?"),
    ("How are you?", "I am fine, thank you. How can I help you?"),
    ("Goodbye!", "Goodbye!"),
    ("Bye", "Goodbye!"),
)


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a conversation."""

    role: str
    content: str


def render(turns: list[Turn]) -> str:
    """The conversation in the markup of `CHAT_TEMPLATE`."""
    return "".join(f"<|{turn.role}|>\n{turn.content}<|end|>\n" for turn in turns)


def ask(question: str, answer: str) -> list[Turn]:
    """A user turn and its answer."""
    return [Turn("user", question), Turn("assistant", answer)]


_TASKS: Final = (
    tasks.arithmetic_item,
    tasks.arithmetic_item,
    tasks.word_problem_item,
    tasks.comparison_item,
    tasks.spelling_item,
    tasks.sentiment_item,
    tasks.reading_item,
)


def draw_item(rng: random.Random, *, held_out: bool = False) -> Item:
    """A question of any short kind; facts are the most frequent."""
    kind = rng.random()
    if kind < 0.54:
        return fact_item(rng, draw_relation(rng), held_out=held_out)
    if kind < 0.68:
        return yes_no_item(rng, draw_relation(rng), held_out=held_out)
    return rng.choice(_TASKS)(rng, held_out=held_out)


def practice_item(rng: random.Random) -> Item:
    """A question that has to be worked out: sums, comparisons, letters, reading, yes or no."""
    if rng.random() < 0.25:
        return yes_no_item(rng, draw_relation(rng))
    makers = (*_TASKS[:-2], tasks.arithmetic_item, tasks.comparison_item, tasks.reading_item)
    return rng.choice(makers)(rng)


def practice_chat(rng: random.Random) -> str:
    """Questions that have to be worked out, as in `question_chat`."""
    bare = rng.random() < 0.5
    turns = (
        [Turn("system", rng.choice(BARE_SYSTEMS if bare else SENTENCE_SYSTEMS))] if bare or rng.random() < 0.3 else []
    )
    for _ in range(rng.choice((1, 2, 3, 4))):
        item = practice_item(rng)
        turns += ask(item.question, item.answer if bare else item.sentence)
    return render(turns)


_ORDERS: Final = tuple(relation for relation in RELATIONS if relation.name.startswith(("day_", "month_", "translate_")))


def drill_item(rng: random.Random) -> Item:
    """What is learned last: yes or no, and the order of days and months."""
    if rng.random() < 0.75:
        return yes_no_item(rng, draw_relation(rng), templates=YES_NO_DRILLS)
    return fact_item(rng, rng.choice(_ORDERS))


def claim_item(rng: random.Random) -> Item:
    """Yes or no about one of `YES_NO_RELATIONS`."""
    return yes_no_item(rng, rng.choice(YES_NO_RELATIONS), templates=YES_NO_DRILLS)


def drill_chat(rng: random.Random, draw: Callable[[random.Random], Item] = drill_item) -> str:
    """Drills as in `question_chat`."""
    bare = rng.random() < 0.5
    turns = (
        [Turn("system", rng.choice(BARE_SYSTEMS if bare else SENTENCE_SYSTEMS))] if bare or rng.random() < 0.3 else []
    )
    for _ in range(rng.choice((1, 2, 4))):
        item = draw(rng)
        turns += ask(item.question, item.answer if bare else item.sentence)
    return render(turns)


def claim_chat(rng: random.Random) -> str:
    """Claims as in `question_chat`."""
    return drill_chat(rng, claim_item)


def question_chat(rng: random.Random) -> str:
    """Independent questions; the system prompt decides between bare and sentence answers."""
    bare = rng.random() < 0.45
    turns = (
        [Turn("system", rng.choice(BARE_SYSTEMS if bare else SENTENCE_SYSTEMS))] if bare or rng.random() < 0.5 else []
    )
    for _ in range(rng.choice((1, 1, 2, 3))):
        item = draw_item(rng)
        turns += ask(item.question, item.answer if bare else item.sentence)
    return render(turns)


def follow_up_chat(rng: random.Random) -> str:
    """A question about one subject, then the same about others: `And of Spain?`."""
    relation = draw_relation(rng)
    bare = rng.random() < 0.4
    turns = [Turn("system", rng.choice(BARE_SYSTEMS))] if bare else []
    subjects = rng.sample(relation.pairs, min(len(relation.pairs), rng.choice((2, 3, 4))))
    templates = relation.questions(held_out=False)
    for number, (subject, answer) in enumerate(subjects):
        template = (
            rng.choice(templates)
            if number == 0
            else rng.choice(("And of {s}?", "And {s}?", "What about {s}?", "And for {s}?", "And what about {s}?"))
        )
        turns += ask(fill(template, subject), answer if bare else relation.sentence(subject, answer))
    return render(turns)


def memory_questions(person: tasks.Person, colour: str) -> dict[str, tuple[tuple[str, ...], str, str]]:
    """For each thing that a user may say of themselves: questions, bare answer, sentence."""
    return {
        "name": (
            ("What is my name?", "Do you remember my name?", "Who am I?", "What was my name?"),
            person.name,
            f"Your name is {person.name}.",
        ),
        "city": (
            ("Where do I live?", "In which city do I live?", "What is my city?"),
            person.city,
            f"You live in {person.city}.",
        ),
        "age": (
            ("How old am I?", "What is my age?", "Do you remember my age?"),
            str(person.age),
            f"You are {person.age} years old.",
        ),
        "job": (
            ("What is my job?", "What do I do for a living?", "What do I work as?"),
            person.job,
            f"You are {with_article(person.job)}.",
        ),
        "colour": (
            ("What is my favorite color?", "Which color do I like?", "Do you remember my favorite color?"),
            colour,
            f"Your favorite color is {colour}.",
        ),
    }


def introduction(rng: random.Random, person: tasks.Person, colour: str, told: list[str]) -> str:
    """The user's first message, which tells the given things."""
    parts = {
        "name": rng.choice(
            (
                f"My name is {person.name}.",
                f"I am {person.name}.",
                f"I'm {person.name}.",
                f"You can call me {person.name}.",
            )
        ),
        "city": rng.choice(
            (f"I live in {person.city}.", f"My home is in {person.city}.", f"I come from {person.city}.")
        ),
        "age": rng.choice((f"I am {person.age} years old.", f"My age is {person.age}.")),
        "job": rng.choice((f"I am {with_article(person.job)}.", f"I work as {with_article(person.job)}.")),
        "colour": rng.choice((f"My favorite color is {colour}.", f"I like the color {colour}.")),
    }
    return rng.choice(("", "Hello! ", "Hi, ", "Hello. ")) + " ".join(parts[key] for key in told)


def memory_chat(rng: random.Random) -> str:
    """The user tells something, asks other things, and comes back to it."""
    person, colour = tasks.draw_person(rng), rng.choice(world.COLOURS)[1]
    questions = memory_questions(person, colour)
    told = ["name"] * (rng.random() < 0.85)
    told += rng.sample(["city", "age", "job", "colour"], rng.randint(0 if told else 1, 3))
    turns = [Turn("system", rng.choice(SENTENCE_SYSTEMS))] if rng.random() < 0.4 else []
    greeting = f"Nice to meet you, {person.name}!" if told[0] == "name" else "Nice to meet you!"
    turns += ask(introduction(rng, person, colour, told), greeting)
    for _ in range(rng.choice((0, 1, 1, 2, 3, 6))):
        item = draw_item(rng)
        turns += ask(item.question, item.sentence)
    for key in rng.sample(told, rng.randint(1, len(told))):
        asks, _, sentence = questions[key]
        turns += ask(rng.choice(asks), sentence)
    return render(turns)


def small_talk_chat(rng: random.Random) -> str:
    """Greetings and questions about the model, with a question in between."""
    turns = [Turn("system", rng.choice(SENTENCE_SYSTEMS))] if rng.random() < 0.5 else []
    turns += ask(*rng.choice(_ABOUT_ME))
    item = draw_item(rng)
    turns += ask(item.question, item.sentence)
    return render(turns + (ask(*rng.choice(_ABOUT_ME)) if rng.random() < 0.5 else []))


def writing_chat(rng: random.Random) -> str:
    """Requests for tips, for the expansion of a tip and for a story."""
    turns = [Turn("system", rng.choice(SENTENCE_SYSTEMS))] if rng.random() < 0.4 else []
    return render(turns + ask(*rng.choice((tips_pair, expansion_pair, story_request))(rng)))


def ticket_chat(rng: random.Random) -> str:
    """Tickets under the system prompt that asks to sort them."""
    system = rng.choice(
        (
            "You sort support tickets.",
            "You sort support tickets by urgency and team.",
            "You are a support agent. You sort tickets.",
            "You triage support tickets.",
        )
    )
    turns = [Turn("system", system)]
    for _ in range(rng.choice((1, 1, 2))):
        ticket = draw_ticket(rng)
        turns += ask(rng.choice(("", "", "Ticket: ")) + ticket.text, report(rng, ticket))
    return render(turns)


def ticket_question_chat(rng: random.Random) -> str:
    """Single questions about a ticket."""
    ticket = draw_ticket(rng)
    question, answer = rng.choice(
        (
            ("How urgent is this ticket? {}", ticket.urgency),
            ("Is the urgency of this ticket low, normal or high? {}", ticket.urgency),
            ("Which team should handle this ticket? {}", ticket.team),
            ("Billing, technical or sales? {}", ticket.team),
            ("Summarize this ticket: {}", ticket.summary),
        )
    )
    return render(ask(question.replace("{}", ticket.text), answer))


def extraction_chat(rng: random.Random) -> str:
    """A request to turn a text about a person into JSON or into lines."""
    person, keys = tasks.draw_person(rng), rng.choice(tasks.KEY_SETS)
    text = tasks.about(rng, person)
    if rng.random() < 0.75:
        turns = ask(tasks.extraction_request(rng, keys, text), person.to_json(keys))
    else:
        listed = ", ".join(keys[:-1]) + " and " + keys[-1]
        turns = ask(f"List the {listed}: {text}", person.to_lines(keys))
    system = (
        [Turn("system", rng.choice(("You extract data.", "You answer in JSON.", "You are a helpful assistant.")))]
        if rng.random() < 0.4
        else []
    )
    return render(system + turns)
