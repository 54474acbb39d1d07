"""Small tasks with one right answer: sums, comparisons, letters, sentiment, tickets, ratings, extraction to JSON.

Every task is a function of a random source and of the side of the split; held-out phrasings are never trained on.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import Final

from . import corpus_world as world
from .corpus_facts import Item, is_held_pair

_SYLLABLES: Final = world.words(
    "ba be bo da del do fa fi ga go ka ki la lo ma mi na no pa ra ri sa so ta ti va vi za zu"
)


def pick(rng: random.Random, train: tuple[str, ...], held: tuple[str, ...], *, held_out: bool) -> str:
    """A template from one side of the split."""
    return rng.choice(held if held_out else train)


def any_name(rng: random.Random) -> str:
    """A known first name, or an invented one so that names must be copied rather than remembered."""
    if rng.random() < 0.7:
        return rng.choice(world.NAMES)
    return "".join(rng.choices(_SYLLABLES, k=rng.choice((2, 3)))).capitalize()


def any_city(rng: random.Random) -> str:
    """A capital of the world, or now and then an invented town."""
    return rng.choice(world.COUNTRIES)[1] if rng.random() < 0.85 else any_name(rng)


_SUMS: Final = (
    "What is {e}?", "{e} = ?", "Compute {e}.", "How much is {e}?", "Calculate {e}.", "What does {e} equal?",
    "{e} is what?",
    "What is the result of {e}?", "Tell me {e}.", "Solve {e}.", "What do you get for {e}?", "{e}?",
    "Please compute {e}.",
)  # fmt: skip
_SUMS_HELD: Final = ("Work out {e}.", "What is the value of {e}?", "Please calculate {e}.")
_WORDS_OF: Final = {"+": ("plus",), "-": ("minus",), "x": ("times",)}


def evaluate_sum(a: int, operator: str, b: int) -> int:
    """The value of `a operator b` for `+`, `-` and `x`."""
    return {"+": a + b, "-": a - b, "x": a * b}[operator]


def draw_sum(rng: random.Random) -> tuple[int, str, int]:
    """Operands in 0..20 for sums and differences (never below zero), 0..10 for products."""
    operator = rng.choice("++--x")
    if operator == "x":
        return rng.randint(0, 10), operator, rng.randint(0, 10)
    a, b = rng.randint(0, 20), rng.randint(0, 20)
    return (max(a, b), operator, min(a, b)) if operator == "-" else (a, operator, b)


def arithmetic_item(rng: random.Random, *, held_out: bool = False) -> Item:
    """A sum in figures or with the operator in words."""
    while True:
        a, operator, b = draw_sum(rng)
        expression = f"{a} {operator} {b}"
        unseen = held_out and rng.random() < 0.7
        template = pick(rng, _SUMS, _SUMS_HELD, held_out=unseen)
        if not unseen and is_held_pair(expression, template) != held_out:
            continue
        spoken = expression if rng.random() < 0.75 else f"{a} {_WORDS_OF[operator][0]} {b}"
        value = evaluate_sum(a, operator, b)
        return Item("arithmetic", template.replace("{e}", spoken), str(value), f"{expression} = {value}.")


_MORE: Final = (
    "{n} has {a} {t} and gets {b} more. How many {t} does {n} have?",
    "{n} has {a} {t}. A friend brings {b} {t}. How many {t} are there?",
    "There are {a} {t} in a box and {b} {t} in a bag. How many {t} are there?",
    "{n} finds {a} {t} and then {b} more {t}. How many {t} does {n} have?",
)  # fmt: skip
_LESS: Final = (
    "{n} has {a} {t} and gives away {b}. How many {t} are left?",
    "There are {a} {t}. {n} takes {b} of them. How many {t} are left?",
    "{n} had {a} {t} and lost {b}. How many {t} does {n} have?", "{n} has {a} {t} and eats {b}. How many {t} are left?",
)  # fmt: skip
_MORE_HELD: Final = ("{n} has {a} {t} and finds {b} more. How many {t} does {n} have?",)
_LESS_HELD: Final = ("{n} had {a} {t} and gives away {b}. How many {t} are left?",)
_THINGS: Final = ("apples", "pears", "books", "stones", "coins", "balls", "cards", "pens", "cookies", "plums")


def word_problem_item(rng: random.Random, *, held_out: bool = False) -> Item:
    """A one-step story about things that are gained or lost, with numbers up to 10."""
    a, b = rng.randint(1, 10), rng.randint(1, 10)
    more = rng.random() < 0.5
    if not more:
        a, b = max(a, b), min(a, b)
    templates = (_MORE, _MORE_HELD) if more else (_LESS, _LESS_HELD)
    thing = rng.choice(_THINGS)
    text = pick(rng, *templates, held_out=held_out)
    text = text.replace("{n}", any_name(rng)).replace("{a}", str(a)).replace("{b}", str(b)).replace("{t}", thing)
    value, operator = (a + b, "+") if more else (a - b, "-")
    return Item("word_problem", text, str(value), f"{a} {operator} {b} = {value}, so the answer is {value}.")


_LARGER: Final = (
    "Which is larger, {a} or {b}?", "Which number is larger, {a} or {b}?", "Which is bigger, {a} or {b}?",
    "What is more, {a} or {b}?",
    "Which number is greater, {a} or {b}?", "{a} or {b}: which is larger?",
)  # fmt: skip
_LARGER_HELD: Final = ("Which number is bigger, {a} or {b}?", "{a} or {b}: which is bigger?")
_SMALLER: Final = (
    "Which is smaller, {a} or {b}?", "Which number is smaller, {a} or {b}?", "What is less, {a} or {b}?",
    "{a} or {b}: which number is smaller?",
)  # fmt: skip
_SMALLER_HELD: Final = ("{a} or {b}: which is smaller?",)


def comparison_item(rng: random.Random, *, held_out: bool = False) -> Item:
    """The larger or the smaller of two different numbers up to 99."""
    a, b = rng.sample(range(100), 2)
    larger = rng.random() < 0.6
    templates = (_LARGER, _LARGER_HELD) if larger else (_SMALLER, _SMALLER_HELD)
    question = pick(rng, *templates, held_out=held_out).replace("{a}", str(a)).replace("{b}", str(b))
    value = max(a, b) if larger else min(a, b)
    other = a + b - value
    return Item("comparison", question, str(value), f"{value} is {'larger' if larger else 'smaller'} than {other}.")


def spelling_item(rng: random.Random, *, held_out: bool = False) -> Item:
    """The letters of a short word, or its first or last letter."""
    word = rng.choice(world.SPELLING_WORDS)
    kind = rng.randrange(3)
    if kind == 0:
        spelled = "-".join(word)
        templates: tuple[str, ...] = (
            "Spell '{w}'.",
            "Spell the word '{w}'.",
            "How do you spell '{w}'?",
            "How is '{w}' spelled?",
            "Please spell '{w}'.",
        )
        held: tuple[str, ...] = ("How do you spell the word '{w}'?", "Please spell the word '{w}'.")
        sentence = f"'{word}' is spelled {spelled}."
    else:
        place, spelled = ("first", word[0]) if kind == 1 else ("last", word[-1])
        templates = (
            f"What is the {place} letter of '{{w}}'?",
            f"Which letter is the {place} of '{{w}}'?",
            f"Tell me the {place} letter of '{{w}}'.",
        )
        held = (f"Which is the {place} letter of '{{w}}'?", f"Name the {place} letter of '{{w}}'.")
        sentence = f"The {place} letter of '{word}' is {spelled}."
    return Item("spelling", pick(rng, templates, held, held_out=held_out).replace("{w}", word), spelled, sentence)


_RATED: Final = {
    1: ("terrible", "awful", "horrible", "dreadful"),
    2: ("bad", "poor", "boring", "disappointing", "weak"),
    3: ("okay", "average", "so-so"),
    4: ("good", "nice", "pleasant", "enjoyable", "fine"),
    5: ("excellent", "wonderful", "fantastic", "perfect", "amazing"),
}
_REVIEWED: Final = (
    "food", "movie", "hotel", "book", "service", "phone", "room", "show", "coffee", "trip", "game", "pizza", "music",
    "camera", "staff",
)  # fmt: skip
_REVIEWS: Final = (
    "The {x} was {w}.", "The {x} was really {w}.", "I think the {x} was {w}.", "What a {w} {x}!", "We had a {w} {x}.",
    "Honestly, the {x} was {w}.",
    "The {x} is {w} and my friends say the same.", "In my view the {x} was {w}.", "For me the {x} was just {w}.",
)  # fmt: skip
_REVIEWS_HELD: Final = ("I found the {x} {w}.", "For us the {x} was really {w}.", "My friends say the {x} was {w}.")
_PRAISE: Final = (
    "I loved it.",
    "I will come back.",
    "I was very happy.",
    "Best day ever!",
    "I recommend it.",
    "It made me smile.",
)
_BLAME: Final = (
    "I hated it.",
    "I want my money back.",
    "I was very sad.",
    "Never again!",
    "I do not recommend it.",
    "It made me angry.",
)


@dataclass(frozen=True, slots=True)
class Review:
    """A review with its sentiment and its rating from 1 to 5."""

    text: str
    sentiment: str
    score: int


def draw_review(rng: random.Random, *, held_out: bool = False, neutral: bool = False) -> Review:
    """A short review; `neutral` admits the middle rating."""
    score = rng.choice((1, 2, 3, 4, 5) if neutral else (1, 2, 4, 5))
    text = pick(rng, _REVIEWS, _REVIEWS_HELD, held_out=held_out)
    text = text.replace("{x}", rng.choice(_REVIEWED)).replace("{w}", rng.choice(_RATED[score]))
    text = text.replace("a amazing", "an amazing").replace("a excellent", "an excellent").replace("a a", "an a")
    text = text.replace("a okay", "an okay").replace("a enjoyable", "an enjoyable")
    if score != 3 and rng.random() < 0.4:
        text += " " + rng.choice(_PRAISE if score > 3 else _BLAME)
    sentiment = "neutral" if score == 3 else "positive" if score > 3 else "negative"
    return Review(text, sentiment, score)


_ASK_SENTIMENT: Final = (
    "Is this review positive or negative? {r}", "What is the sentiment of this review? {r}",
    "Classify the sentiment: {r}",
    "Tell me if this review is positive or negative: {r}", "Sentiment of this review: {r}", "Positive or negative? {r}",
)  # fmt: skip
_ASK_SENTIMENT_HELD: Final = (
    "Classify this review as positive or negative: {r}",
    "Is the sentiment of this review positive or negative? {r}",
)


def sentiment_item(rng: random.Random, *, held_out: bool = False) -> Item:
    """The sentiment of one review, asked in a sentence."""
    review = draw_review(rng, held_out=held_out)
    question = pick(rng, _ASK_SENTIMENT, _ASK_SENTIMENT_HELD, held_out=held_out).replace("{r}", review.text)
    return Item("sentiment", question, review.sentiment, f"The review is {review.sentiment}.")


@dataclass(frozen=True, slots=True)
class Person:
    """The fields that texts about people mention."""

    name: str
    age: int
    city: str
    job: str

    def field(self, key: str) -> str | int:
        """The value of one of `name`, `age`, `city`, `job`."""
        values: dict[str, str | int] = {"name": self.name, "age": self.age, "city": self.city, "job": self.job}
        return values[key]

    def to_json(self, keys: tuple[str, ...]) -> str:
        """A JSON object with the given keys in the given order."""
        return json.dumps({key: self.field(key) for key in keys})

    def to_lines(self, keys: tuple[str, ...]) -> str:
        """`Name: Ada` lines, one per key."""
        return "\n".join(f"{key.capitalize()}: {self.field(key)}" for key in keys)


JOBS: Final = world.words(
    "teacher doctor baker farmer nurse pilot painter singer writer driver cook engineer lawyer gardener dentist"
)
ALL_KEYS: Final = ("name", "age", "city", "job")
KEY_SETS: Final = (
    ("name", "age", "city"), ALL_KEYS, ("name", "city"), ("name", "age"), ("name", "job"), ("name", "age", "job"),
    ("name", "city", "job"), ("name", "job", "city"), ("name", "job", "age"),
)  # fmt: skip
_ABOUT: Final = (
    "{n} is {a} years old, lives in {c} and works as a {j}.", "{n} is a {j} from {c}. {n} is {a} years old.",
    "My name is {n}. I am {a} years old, I live in {c} and I am a {j}.",
    "At the age of {a}, {n} works as a {j} in {c}.",
    "{n}, {a}, lives in {c} and is a {j}.", "In {c} lives {n}, a {j} of {a} years.",
    "The {j} {n} from {c} is {a} years old.",
    "I met {n} in {c}. {n} is a {j} and is {a} years old.",
)  # fmt: skip
_ABOUT_HELD: Final = (
    "{n} lives in {c}, is {a} years old and works as a {j}.", "{n} is a {j} and lives in {c}. {n} is {a} years old.",
    "My name is {n}. I am a {j}, I am {a} years old and I live in {c}.",
)  # fmt: skip


def draw_person(rng: random.Random) -> Person:
    """A person with independent fields."""
    return Person(any_name(rng), rng.randint(5, 99), any_city(rng), rng.choice(JOBS))


def about(rng: random.Random, person: Person, *, held_out: bool = False) -> str:
    """A text that mentions all fields of a person."""
    text = pick(rng, _ABOUT, _ABOUT_HELD, held_out=held_out)
    text = (
        text.replace("{n}", person.name)
        .replace("{a}", str(person.age))
        .replace("{c}", person.city)
        .replace("{j}", person.job)
    )
    return text.replace("a engineer", "an engineer")


def extraction_request(rng: random.Random, keys: tuple[str, ...], text: str) -> str:
    """A chat request for a JSON object with the given keys."""
    listed = ", ".join(keys[:-1]) + " and " + keys[-1]
    ask = rng.choice(
        (
            "Extract the {k} as JSON: {t}",
            "Give the {k} as JSON: {t}",
            "Read the text and return JSON with {k}: {t}",
            "{t} Give me the {k} as JSON.",
            "Return a JSON object with {k}. Text: {t}",
        )
    )
    return ask.replace("{k}", listed).replace("{t}", text)


_DETAIL: Final = {
    "name": ("What is the name?", "Who is it?"),
    "age": ("How old is {n}?", "What is the age of {n}?"),
    "city": ("Where does {n} live?", "In which city is {n}?"),
    "job": ("What is the job of {n}?", "What does {n} do?"),
}


def reading_item(rng: random.Random, *, held_out: bool = False) -> Item:
    """A question about a text that is given before it."""
    person = draw_person(rng)
    key = rng.choice(("age", "city", "job"))
    question = rng.choice(_DETAIL[key]).replace("{n}", person.name)
    sentence = {
        "age": f"{person.name} is {person.age} years old.",
        "city": f"{person.name} lives in {person.city}.",
        "job": f"{person.name} is a {person.job}.".replace("a engineer", "an engineer"),
    }[key]
    return Item("reading", f"{about(rng, person, held_out=held_out)} {question}", str(person.field(key)), sentence)
