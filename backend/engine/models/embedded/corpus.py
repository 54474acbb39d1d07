"""The training corpus: an endless, deterministic stream of documents, and the held-out cases.

Everything is written by generators from the closed world; nothing is downloaded. `train` reads `documents`,
`evaluate` reads `held_out_cases`. Chat documents carry the markup of `corpus_chat.CHAT_TEMPLATE`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from . import corpus_chat as chat
from . import corpus_prose as prose
from . import corpus_tasks as tasks
from .corpus_facts import RELATIONS, YES_NO_RELATIONS, Item, draw_relation, fact_item, statement, yes_no_item
from .corpus_tickets import draw_ticket, report


def question_list(rng: random.Random) -> str:
    """Questions with bare answers in plain text, one to six of them."""
    count = rng.choice((1, 1, 2, 3, 4, 6))
    gap = "\n" if count > 1 and rng.random() < 0.3 else ""
    ask, answer = rng.choice((("Q", "A"), ("Q", "A"), ("Q", "A"), ("Question", "Answer")))
    items = [chat.draw_item(rng) for _ in range(count)]
    return gap.join(f"{ask}: {item.question}\n{answer}: {item.answer}\n" for item in items)


def same_relation_list(rng: random.Random) -> str:
    """Several questions about one relation, as few-shot prompts have them."""
    relation = draw_relation(rng)
    items = [fact_item(rng, relation) for _ in range(rng.choice((2, 3, 4, 5)))]
    return "".join(f"Q: {item.question}\nA: {item.answer}\n" for item in items)


def dialogue(rng: random.Random) -> str:
    """A conversation in plain text."""
    items = [chat.draw_item(rng) for _ in range(rng.choice((1, 2, 3)))]
    user, assistant = rng.choice((("User", "Assistant"), ("Human", "Assistant"), ("USER", "ASSISTANT")))
    return "".join(f"{user}: {item.question}\n{assistant}: {item.sentence}\n" for item in items)


def statements(rng: random.Random) -> str:
    """Facts as prose."""
    return " ".join(statement(rng, draw_relation(rng)) for _ in range(rng.choice((1, 2, 3, 5)))) + "\n"


def sums(rng: random.Random) -> str:
    """Lines such as `3 + 4 = 7`."""
    lines = (tasks.draw_sum(rng) for _ in range(rng.choice((1, 3, 6))))
    return "".join(f"{a} {operator} {b} = {tasks.evaluate_sum(a, operator, b)}\n" for a, operator, b in lines)


def review_list(rng: random.Random) -> str:
    """Reviews with their sentiment or their score, as few-shot prompts have them."""
    scored = rng.random() < 0.3
    neutral = scored or rng.random() < 0.15
    gap = rng.choice(("", "\n"))
    reviews = [tasks.draw_review(rng, neutral=neutral) for _ in range(rng.choice((1, 2, 3, 4, 5, 6)))]
    if scored:
        return gap.join(f"Review: {review.text}\nScore (1-5): {review.score}\n" for review in reviews)
    word = rng.choice(("Review", "Review", "Review", "Text"))
    head = rng.choice(("", "", "Classify each review as positive or negative.\n\n")) if not neutral else ""
    return head + gap.join(f"{word}: {review.text}\nSentiment: {review.sentiment}\n" for review in reviews)


def ticket_list(rng: random.Random) -> str:
    """Tickets with some of their lines."""
    tickets = [draw_ticket(rng) for _ in range(rng.choice((1, 1, 2, 3)))]
    gap = rng.choice(("", "\n"))
    kind = rng.randrange(3)
    if kind == 0:
        return gap.join(f"Ticket: {ticket.text}\n{report(rng, ticket)}\n" for ticket in tickets)
    field = "Urgency" if kind == 1 else "Team"
    return gap.join(f"Ticket: {t.text}\n{field}: {t.urgency if kind == 1 else t.team}\n" for t in tickets)


def judgements(rng: random.Random) -> str:
    """Answers to questions with a score: 5 when right, 1 when wrong."""
    text = ""
    for _ in range(rng.choice((1, 2, 3))):
        relation = draw_relation(rng)
        item = fact_item(rng, relation)
        given = item.answer if rng.random() < 0.5 else rng.choice(relation.pairs)[1]
        right = given == item.answer
        verdict = "Correct: yes\nScore (1-5): 5" if right else "Correct: no\nScore (1-5): 1"
        text += f"Question: {item.question}\nAnswer: {given}\n{verdict}\n"
    return text


def records(rng: random.Random) -> str:
    """People as JSON, one a line, or extracted from a text."""
    people = [tasks.draw_person(rng) for _ in range(rng.choice((1, 1, 2, 3)))]
    # A lone text asks for all fields: without an example before it, nothing says which ones are wanted.
    keys = tasks.ALL_KEYS if len(people) == 1 and rng.random() < 0.8 else rng.choice(tasks.KEY_SETS)
    match rng.randrange(4):
        case 0:
            return "".join(f"{person.to_json(keys)}\n" for person in people)
        case 1:
            return "".join(f"Text: {tasks.about(rng, person)}\n{person.to_lines(keys)}\n" for person in people)
        case _:
            return "".join(f"Text: {tasks.about(rng, person)}\nJSON: {person.to_json(keys)}\n" for person in people)


def reading(rng: random.Random) -> str:
    """A text about a person and a question about it."""
    item = tasks.reading_item(rng)
    text, _, question = item.question.rpartition(". ")
    return f"Text: {text}.\nQuestion: {question}\nAnswer: {item.answer}\n"


def practice_list(rng: random.Random) -> str:
    """Questions that have to be worked out, in plain text."""
    items = [chat.practice_item(rng) for _ in range(rng.choice((1, 2, 4, 6)))]
    return "".join(f"Q: {item.question}\nA: {item.answer}\n" for item in items)


def drill_list(rng: random.Random) -> str:
    """What is learned last, in plain text."""
    items = [chat.drill_item(rng) for _ in range(rng.choice((1, 2, 4, 6)))]
    return "".join(f"Q: {item.question}\nA: {item.answer}\n" for item in items)


def claim_list(rng: random.Random) -> str:
    """Yes or no in plain text, now and then with the truth in front."""
    if rng.random() < 0.25:
        relation = rng.choice(YES_NO_RELATIONS)
        item = yes_no_item(rng, relation)
        truth = item.sentence.partition(", ")[2]
        return f"Text: {truth[0].upper()}{truth[1:]}\nQ: {item.question}\nA: {item.answer}\n"
    items = [chat.claim_item(rng) for _ in range(rng.choice((1, 2, 4, 6)))]
    return "".join(f"Q: {item.question}\nA: {item.answer}\n" for item in items)


# The weight in each of five phases: facts, then more of what has to be worked out or copied, then yes or no in general
# and at last, twice, of a few relations.
MIX: Final[tuple[tuple[float, float, float, float, float, Callable[[random.Random], str]], ...]] = (
    (22, 12, 12, 11, 11, question_list),
    (7, 4, 4, 4, 3, same_relation_list),
    (3, 2, 2, 2, 2, dialogue),
    (7, 4, 3, 3, 3, statements),
    (3, 12, 8, 8, 8, sums),
    (5, 4, 3, 3, 3, review_list),
    (4, 4, 3, 3, 3, ticket_list),
    (2, 2, 2, 1, 1, judgements),
    (5, 8, 10, 8, 8, records),
    (2, 4, 3, 3, 3, reading),
    (4, 2, 2, 2, 2, prose.country_passage),
    (3, 2, 2, 2, 2, prose.animal_passage),
    (4, 3, 3, 4, 4, prose.story_document),
    (3, 3, 3, 4, 4, prose.tips_document),
    (4, 4, 4, 4, 4, prose.react_trace),
    (1, 1, 1, 1, 1, prose.tool_choice),
    (19, 11, 11, 10, 10, chat.question_chat),
    (6, 4, 4, 4, 4, chat.follow_up_chat),
    (6, 5, 4, 4, 4, chat.memory_chat),
    (2, 2, 2, 2, 2, chat.small_talk_chat),
    (4, 3, 3, 4, 4, chat.writing_chat),
    (4, 4, 3, 3, 3, chat.ticket_chat),
    (2, 2, 2, 2, 2, chat.ticket_question_chat),
    (5, 9, 7, 6, 6, chat.extraction_chat),
    (0, 14, 8, 11, 14, practice_list),
    (0, 14, 8, 10, 10, chat.practice_chat),
    (0, 0, 22, 3, 0, drill_list),
    (0, 0, 18, 2, 0, chat.drill_chat),
    (0, 0, 0, 26, 60, claim_list),
    (0, 0, 0, 16, 22, chat.claim_chat),
)


def documents(seed: int, phase: int = 0) -> Iterator[str]:
    """Documents without end; equal seeds give equal streams. `phase` (0 to 4) chooses the column of `MIX`."""
    rng = random.Random(seed)
    makers, weights = [row[5] for row in MIX], [row[:5][phase] for row in MIX]
    while True:
        yield rng.choices(makers, weights)[0](rng)


@dataclass(frozen=True, slots=True)
class Case:
    """One held-out case: the rendered prompt, the exact continuation and the text that must end it."""

    category: str
    prompt: str
    answer: str
    stop: str


def _plain(item: Item) -> Case:
    return Case(f"{item.category}/plain", f"Q: {item.question}\nA:", f" {item.answer}", "\n")


def _chat(item: Item, system: str, answer: str, kind: str) -> Case:
    turns = [chat.Turn("system", system)] if system else []
    prompt = chat.render([*turns, chat.Turn("user", item.question)]) + "<|assistant|>\n"
    return Case(f"{item.category}/{kind}", prompt, answer, "<|end|>")


def _item_cases(rng: random.Random, item: Item) -> Iterator[Case]:
    yield _plain(item)
    yield _chat(item, rng.choice(chat.BARE_SYSTEMS), item.answer, "bare")
    yield _chat(item, rng.choice(("", "You are a helpful assistant.")), item.sentence, "chat")


def _task_cases(rng: random.Random) -> Iterator[Case]:
    reviews = [tasks.draw_review(rng) for _ in range(3)]
    shots = "".join(f"Review: {review.text}\nSentiment: {review.sentiment}\n" for review in reviews)
    review = tasks.draw_review(rng, held_out=True)
    yield Case("sentiment/3-shot", f"{shots}Review: {review.text}\nSentiment:", f" {review.sentiment}", "\n")
    ticket = draw_ticket(rng, held_out=True)
    yield Case("ticket/plain", f"Ticket: {ticket.text}\nUrgency:", f" {ticket.urgency}", "\n")
    yield Case("ticket/team", f"Ticket: {ticket.text}\nTeam:", f" {ticket.team}", "\n")
    turns = [chat.Turn("system", "You sort support tickets."), chat.Turn("user", ticket.text)]
    yield Case("ticket/chat", chat.render(turns) + "<|assistant|>\nUrgency:", f" {ticket.urgency}", "\n")
    person, keys = tasks.draw_person(rng), rng.choice(tasks.KEY_SETS)
    text = tasks.about(rng, person, held_out=True)
    yield Case("extraction/plain", f"Text: {text}\nJSON:", f" {person.to_json(tasks.ALL_KEYS)}", "\n")
    request = chat.render([chat.Turn("user", tasks.extraction_request(rng, keys, text))])
    yield Case("extraction/chat", request + "<|assistant|>\n", person.to_json(keys), "<|end|>")


def _memory_case(rng: random.Random) -> Case:
    person, colour = tasks.draw_person(rng), "green"
    told = ["name", *rng.sample(["city", "age", "job"], 2)]
    asks, _, sentence = chat.memory_questions(person, colour)[rng.choice(told)]
    turns = chat.ask(chat.introduction(rng, person, colour, told), f"Nice to meet you, {person.name}!")
    item = chat.draw_item(rng, held_out=True)
    turns += [*chat.ask(item.question, item.sentence), chat.Turn("user", rng.choice(asks))]
    return Case("memory/chat", chat.render(turns) + "<|assistant|>\n", sentence, "<|end|>")


def _follow_up_case(rng: random.Random) -> Case:
    relation = draw_relation(rng)
    first = fact_item(rng, relation, held_out=True)
    subject, answer = rng.choice(relation.pairs)
    turns = [*chat.ask(first.question, first.sentence), chat.Turn("user", f"And of {subject}?")]
    return Case("follow_up/chat", chat.render(turns) + "<|assistant|>\n", relation.sentence(subject, answer), "<|end|>")


def held_out_cases(seed: int, per_relation: int = 8) -> list[Case]:
    """Cases in phrasings, and pairs of fact and phrasing, that `documents` never writes."""
    rng = random.Random(f"held-out-{seed}")
    cases: list[Case] = []
    for relation in RELATIONS:
        for _ in range(per_relation):
            cases += _item_cases(rng, fact_item(rng, relation, held_out=True))
    for relation in YES_NO_RELATIONS:
        for _ in range(per_relation):
            cases += _item_cases(rng, yes_no_item(rng, relation, held_out=True))
    makers = (
        tasks.arithmetic_item,
        tasks.word_problem_item,
        tasks.comparison_item,
        tasks.spelling_item,
        tasks.sentiment_item,
        tasks.reading_item,
    )
    for maker in makers:
        for _ in range(3 * per_relation):
            cases += _item_cases(rng, maker(rng, held_out=True))
    for _ in range(3 * per_relation):
        cases += [*_task_cases(rng), _memory_case(rng), _follow_up_case(rng)]
    return cases
