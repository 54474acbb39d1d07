"""Relations of the closed world: every way a fact is asked, answered and stated.

A phrasing is a template; some are held out from training altogether, and so is a share of the (fact, phrasing) pairs.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from . import corpus_world as world

_GENERIC: Final = (
    "What is {np}?", "What's {np}?", "Tell me {np}.", "Do you know {np}?", "Name {np}.", "Please give me {np}.",
    "I would like to know {np}.", "Can you tell me {np}?", "{np}?", "{np} is what?", "Could you tell me what {np} is?",
    "Please tell me what {np} is.", "Give {np}.", "What would you say is {np}?", "I am looking for {np}.",
)  # fmt: skip
_GENERIC_HELD: Final = ("Would you tell me {np}?", "Please name {np}.", "Do you know what {np} is?")
_YES_NO: Final = (
    "Is {a} {np}?", "Is {np} {a}?", "Would you say that {np} is {a}?", "Is it true that {np} is {a}?",
    "{np} is {a}, right?", "Is it right that {np} is {a}?", "Can you confirm that {np} is {a}?",
)  # fmt: skip
# Only the drills of the last phases have these.
YES_NO_DRILLS: Final = (
    *_YES_NO, "I think that {np} is {a}. Do you agree?", "Is this correct: {np} is {a}?",
    "{np} is {a}. Is that correct?", "{np} is {a}. Do you agree?", "Is that so: {np} is {a}?",
    "Do you think that {np} is {a}?",
)  # fmt: skip
_YES_NO_HELD: Final = ("Is it correct that {np} is {a}?", "Do you agree that {np} is {a}?")


@dataclass(frozen=True, slots=True)
class Item:
    """One question with its bare answer (`Paris`) and its sentence answer (`The capital of France is Paris.`)."""

    category: str
    question: str
    answer: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Relation:
    """A table of (subject, answer) pairs with the templates that ask for the answer.

    `np` names the asked thing (`the capital of {s}`), `asks` and `held` are further questions, `says` are statements;
    the first statement is the sentence answer.
    """

    name: str
    pairs: tuple[tuple[str, str], ...]
    np: str
    asks: tuple[str, ...]
    held: tuple[str, ...]
    says: tuple[str, ...]

    def questions(self, *, held_out: bool) -> tuple[str, ...]:
        """All templates of one side of the split, with `{s}` open."""
        own, generic = (self.held, _GENERIC_HELD) if held_out else (self.asks, _GENERIC)
        return own + tuple(template.replace("{np}", self.np) for template in generic)

    def sentence(self, subject: str, answer: str) -> str:
        """The canonical statement of one fact."""
        return fill(self.says[0], subject, answer)


def fill(template: str, subject: str, answer: str = "") -> str:
    """Fill a template and capitalise its first letter."""
    text = template.replace("{s}", subject).replace("{a}", answer)
    return text[0].upper() + text[1:]


def with_article(noun: str) -> str:
    """`cat` -> `a cat`, `owl` -> `an owl`."""
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def is_held_pair(subject: str, template: str) -> bool:
    """Whether this (fact, phrasing) pair is kept out of training though its phrasing is not."""
    return zlib.crc32(f"{subject}|{template}".encode()) % 16 == 0


def _column(rows: tuple[tuple[str, ...], ...], index: int, *, animal: bool = False) -> tuple[tuple[str, str], ...]:
    return tuple((with_article(row[0]) if animal else row[0], row[index]) for row in rows if row[index] != "-")


def _country_relations() -> tuple[Relation, ...]:
    rows = world.COUNTRIES
    return (
        Relation(
            "capital", _column(rows, 1), "the capital of {s}",
            ("Which city is the capital of {s}?", "What is the capital city of {s}?", "{s} has which capital?",
             "Which city is {s}'s capital?", "What is {s}'s capital?", "In which city is the government of {s}?",
             "The capital of {s}: which city is it?"),
            ("What city is the capital of {s}?", "{s}'s capital is which city?", "Name the capital city of {s}."),
            ("The capital of {s} is {a}.", "{a} is the capital of {s}.", "{s} has the capital {a}.",
             "The capital city of {s} is {a}."),
        ),
        Relation(
            "capital_of", tuple((row[1], row[0]) for row in rows), "the country with the capital {s}",
            ("{s} is the capital of which country?", "Which country has the capital {s}?",
             "What country has {s} as its capital?", "Of which country is {s} the capital?", "In which country is {s}?",
             "Where is {s}?", "In what country do you find {s}?", "Which country is the city of {s} in?"),
            ("{s} is the capital of what country?", "In what country is {s}?", "In which country is the city {s}?"),
            ("{s} is the capital of {a}.", "{s} is a city in {a}.", "You find {s} in {a}."),
        ),
        Relation(
            "continent", _column(rows, 2), "the continent of {s}",
            ("On which continent is {s}?", "Which continent is {s} in?", "In which continent is {s}?",
             "What continent is {s} on?", "{s} is on which continent?", "To which continent does {s} belong?"),
            ("On what continent is {s}?", "Which continent does {s} belong to?", "In which part of the world is {s}?"),
            ("{s} is a country in {a}.", "{s} lies in {a}.", "{s} belongs to {a}."),
        ),
        Relation(
            "language", _column(rows, 3), "the main language of {s}",
            ("Which language do people speak in {s}?", "What language is spoken in {s}?",
            "What do people in {s} speak?",
             "Which language is spoken in {s}?", "What language do they speak in {s}?", "{s} speaks which language?",
             "What is the language of {s}?"),
            ("What language do people speak in {s}?", "Which language do they speak in {s}?", "What is spoken in {s}?"),
            ("People in {s} speak {a}.", "The main language of {s} is {a}.", "{a} is spoken in {s}."),
        ),
        Relation(
            "currency", _column(rows, 4), "the currency of {s}",
            ("Which currency is used in {s}?", "What money do people use in {s}?", "What currency does {s} use?",
             "How do people pay in {s}?", "{s} uses which currency?", "What is the money of {s} called?"),
            ("Which currency does {s} use?", "What currency is used in {s}?", "Which money do people use in {s}?"),
            ("The currency of {s} is the {a}.", "{s} uses the {a}.", "People in {s} pay with the {a}."),
        ),
    )  # fmt: skip


def _animal_relations() -> tuple[Relation, ...]:
    rows = world.ANIMALS
    return (
        Relation(
            "legs", _column(rows, 1, animal=True), "the number of legs of {s}",
            ("How many legs does {s} have?", "How many legs has {s}?", "{s} has how many legs?",
             "On how many legs does {s} walk?", "How many legs do you count on {s}?"),
            ("How many legs are there on {s}?", "How many legs can {s} have?"),
            ("{s} has {a} legs.", "The number of legs of {s} is {a}."),
        ),
        Relation(
            "food", _column(rows, 2, animal=True), "the food of {s}",
            ("What does {s} eat?", "What food does {s} eat?", "{s} eats what?", "What does {s} like to eat?",
             "What does {s} feed on?", "What would {s} eat?", "What do you feed {s}?"),
            ("What kind of food does {s} eat?", "{s} likes to eat what?", "What will {s} eat?"),
            ("{s} eats {a}.", "{s} feeds on {a}.", "The food of {s} is {a}."),
        ),
        Relation(
            "home", _column(rows, 3, animal=True), "the home of {s}",
            ("Where does {s} live?", "In what place does {s} live?", "{s} lives where?", "Where can you find {s}?",
             "Where would you find {s}?", "Where is {s} at home?", "What is the habitat of {s}?"),
            ("In which place does {s} live?", "Where do you find {s}?", "Where does {s} make its home?"),
            ("{s} lives in {a}.", "The home of {s} is in {a}.", "You find {s} in {a}."),
        ),
        Relation(
            "sound", _column(rows, 4, animal=True), "the sound of {s}",
            ("What sound does {s} make?", "Which sound does {s} make?", "{s} makes what sound?",
             "What noise does {s} make?", "How does {s} sound?", "What do you hear from {s}?"),
            ("Which noise does {s} make?", "{s} makes which sound?", "What sound do you hear from {s}?"),
            ("The sound of {s} is a {a}.", "{s} makes the sound {a}.", "The noise that {s} makes is a {a}."),
        ),
        Relation(
            "kind", _column(rows, 5, animal=True), "the animal group of {s}",
            ("What kind of animal is {s}?", "Which kind of animal is {s}?", "{s} is what kind of animal?",
             "To which group does {s} belong?", "What type of animal is {s}?", "Which group of animals has {s}?"),
            ("{s} is which kind of animal?", "Which type of animal is {s}?",
            "To which group of animals does {s} belong?"),
            ("The animal group of {s} is {a}.", "{s} belongs to the group {a}."),
        ),
        Relation(
            "young", tuple((with_article("baby " + row[0]), row[6]) for row in rows), "the name for {s}",
            ("What is {s} called?", "What do you call {s}?", "{s} is called what?", "How do you call {s}?",
             "What do people call {s}?", "Which word means {s}?"),
            ("What would you call {s}?", "{s} is known as what?", "What do we call {s}?"),
            ("{s} is called a {a}.", "We call {s} a {a}.", "The name for {s} is {a}."),
        ),
    )  # fmt: skip


def _thing_relations() -> tuple[Relation, ...]:
    both_ways = world.OPPOSITES + tuple((row[1], row[0]) for row in world.OPPOSITES)
    return (
        Relation(
            "colour", _column(world.COLOURS, 1), "the color of {s}",
            ("What color is {s}?", "Which color is {s}?", "What color does {s} have?", "{s} has which color?",
             "{s} is what color?", "What is the colour of {s}?", "Which color does {s} have?"),
            ("{s} is which color?", "{s} has what color?", "What colour is {s}?"),
            ("{s} is {a}.", "The color of {s} is {a}.", "{s} has the color {a}."),
        ),
        Relation(
            "opposite", tuple((row[0], row[1]) for row in both_ways), "the opposite of {s}",
            ("Which word is the opposite of {s}?", "What word means the opposite of {s}?",
            "{s} is the opposite of what?",
             "What is not {s}, but the opposite?", "Opposite of {s}?", "Give me the opposite word of {s}.",
             "What is the antonym of {s}?"),
            ("Which word means the opposite of {s}?", "What is the opposite word of {s}?",
            "{s} is the opposite of which word?"),
            ("The opposite of {s} is {a}.", "{s} is the opposite of {a}."),
        ),
        Relation(
            "symbol", _column(world.ELEMENTS, 1), "the chemical symbol of {s}",
            ("What is the symbol of {s}?", "What is the symbol for {s}?", "Which symbol does {s} have?",
             "{s} has which symbol?", "How do chemists write {s}?", "What symbol stands for {s}?"),
            ("Which symbol stands for {s}?", "What symbol does {s} have?", "What is the chemical symbol for {s}?"),
            ("The chemical symbol of {s} is {a}.", "The symbol for {s} is {a}.", "Chemists write {s} as {a}."),
        ),
        Relation(
            "atomic_number", _column(world.ELEMENTS, 2), "the atomic number of {s}",
            ("Which atomic number does {s} have?", "{s} has which atomic number?", "What number does {s} have?",
             "How many protons does {s} have?", "What is the number of protons of {s}?"),
            ("What atomic number does {s} have?", "{s} has how many protons?"),
            ("The atomic number of {s} is {a}.", "{s} has the atomic number {a}.", "{s} has {a} protons."),
        ),
        Relation(
            "inventor", _column(world.INVENTIONS, 1), "the inventor of {s}",
            ("Who invented {s}?", "Who was the inventor of {s}?", "{s} was invented by whom?",
            "Who is the inventor of {s}?",
             "Which inventor gave us {s}?", "By whom was {s} invented?"),
            ("Who gave us {s}?", "Which person invented {s}?", "Who was it that invented {s}?"),
            ("The inventor of {s} is {a}.", "{s} was invented by {a}.", "{a} invented {s}."),
        ),
        Relation(
            "author", _column(world.BOOKS, 1), "the author of {s}",
            ("Who wrote {s}?", "Who is the author of {s}?", "{s} was written by whom?", "Which author wrote {s}?",
             "By whom was {s} written?", "Who wrote the book {s}?", "Who was the author of {s}?"),
            ("Which writer wrote {s}?", "Who is the author of the book {s}?", "{s} is a book by whom?"),
            ("The author of {s} is {a}.", "{s} was written by {a}.", "{a} wrote {s}."),
        ),
    )  # fmt: skip


def _order_relations() -> Iterator[Relation]:
    for kind, names in (("day", world.DAYS), ("month", world.MONTHS)):
        after = tuple((name, names[(i + 1) % len(names)]) for i, name in enumerate(names))
        before = tuple((name, names[i - 1]) for i, name in enumerate(names))
        for word, pairs in (("after", after), ("before", before)):
            yield Relation(
                f"{kind}_{word}", pairs, f"the {kind} {word} {{s}}",
                (f"What {kind} comes {word} {{s}}?", f"Which {kind} comes {word} {{s}}?",
                f"Which {kind} is {word} {{s}}?",
                 f"What comes {word} {{s}}?", f"What {kind} comes right {word} {{s}}?",
                 f"Which {kind} do we have {word} {{s}}?"),
                (f"What {kind} is {word} {{s}}?", f"Which {kind} comes right {word} {{s}}?"),
                (f"The {kind} {word} {{s}} is {{a}}.", f"{{a}} comes {word} {{s}}.",
                f"Right {word} {{s}} comes {{a}}."),
            )  # fmt: skip
    ordinals = world.ORDINALS
    yield Relation(
        "planet", tuple(zip(ordinals, world.PLANETS, strict=False)), "the {s} planet from the sun",
        ("Which planet is the {s} from the sun?", "What is the name of the {s} planet from the sun?",
        "Which planet is {s} from the sun?",
         "What planet comes {s} from the sun?", "What is the {s} planet of the solar system?"),
        ("What planet is the {s} from the sun?", "What is the {s} planet?"),
        ("The {s} planet from the sun is {a}.", "{a} is the {s} planet from the sun."),
    )  # fmt: skip
    yield Relation(
        "month_number", tuple(zip(ordinals, world.MONTHS, strict=True)), "the {s} month of the year",
        ("Which month is the {s} of the year?", "What is the name of the {s} month?",
        "Which month comes {s} in the year?",
         "Which is the {s} month?", "What month is the {s} in the year?"),
        ("What month is the {s} of the year?", "What is the {s} month?"),
        ("The {s} month of the year is {a}.", "{a} is the {s} month of the year."),
    )  # fmt: skip
    for column, language in ((1, "Spanish"), (2, "French"), (3, "German")):
        yield Relation(
            f"translate_{language}", _column(world.WORDS, column), f"the {language} word for '{{s}}'",
            (f"How do you say '{{s}}' in {language}?", f"Translate '{{s}}' into {language}.",
            f"What does '{{s}}' mean in {language}?",
             f"Translate to {language}: {{s}}", f"How does one say '{{s}}' in {language}?",
             f"What is '{{s}}' in {language}?"),
            (f"How would you say '{{s}}' in {language}?", f"Translate '{{s}}' to {language}."),
            (f"The {language} word for '{{s}}' is '{{a}}'.", f"In {language}, '{{s}}' is '{{a}}'."),
        )  # fmt: skip


RELATIONS: Final = _country_relations() + _animal_relations() + _thing_relations() + tuple(_order_relations())
# Only of these does the model say yes or no with any confidence: the last phase drills them, and they are measured.
YES_NO_RELATIONS: Final = tuple(
    relation
    for relation in RELATIONS
    if relation.name in ("capital", "continent", "language", "legs", "kind", "colour")
)
# Larger tables are drawn more often; the square root keeps the small ones alive.
_WEIGHTS: Final = tuple(len(relation.pairs) ** 0.75 for relation in RELATIONS)


def draw_relation(rng: random.Random) -> Relation:
    """A relation, in proportion to the size of its table."""
    return rng.choices(RELATIONS, _WEIGHTS)[0]


def fact_item(rng: random.Random, relation: Relation, *, held_out: bool = False) -> Item:
    """A question about one fact; with `held_out`, by a phrasing or (fact, phrasing) pair that training never shows."""
    while True:
        subject, answer = rng.choice(relation.pairs)
        unseen_phrasing = held_out and rng.random() < 0.7
        template = rng.choice(relation.questions(held_out=unseen_phrasing))
        if unseen_phrasing or is_held_pair(subject, template) == held_out:
            return Item(relation.name, fill(template, subject), answer, relation.sentence(subject, answer))


def yes_no_item(
    rng: random.Random, relation: Relation, *, templates: tuple[str, ...] = _YES_NO, held_out: bool = False
) -> Item:
    """A yes/no question about one fact, half of them false."""
    subject, answer = rng.choice(relation.pairs)
    claim = answer if rng.random() < 0.5 else rng.choice(relation.pairs)[1]
    template = rng.choice(_YES_NO_HELD if held_out else templates).replace("{np}", relation.np)
    truth = relation.sentence(subject, answer)
    body = truth[0].lower() + truth[1:] if truth.startswith(("The ", "A ", "An ")) else truth
    word = "Yes" if claim == answer else "No"
    return Item("yes_no", fill(template, subject, claim), word, f"{word}, {body}")


def statement(rng: random.Random, relation: Relation) -> str:
    """One fact as a sentence of prose."""
    subject, answer = rng.choice(relation.pairs)
    return fill(rng.choice(relation.says), subject, answer)
