"""Longer text: stories, tips and their expansions, passages about countries and animals, ReAct traces."""

from __future__ import annotations

import json
import random
from typing import Final

from . import corpus_world as world
from .corpus_facts import RELATIONS, Relation, fact_item, fill, with_article
from .corpus_tasks import any_name, draw_sum, evaluate_sum

# topic -> (tip, expansion) pairs
TOPICS: Final = {
    "staying healthy": (
        ("Eat fresh fruit.", "Fresh fruit gives your body vitamins, so eat an apple or a pear every day."),
        ("Sleep eight hours.", "A good night of sleep gives your body time to rest, so go to bed early."),
        ("Drink enough water.", "Water keeps your body fresh, so drink a glass with every meal."),
        ("Walk every day.", "A walk of half an hour makes your heart strong and your mind calm."),
        ("Exercise regularly.", "Regular exercise keeps your muscles strong and makes you feel good."),
        ("Eat a balanced diet.", "A balanced diet has vegetables, fruit and bread, and only a little sugar."),
    ),
    "saving money": (
        ("Make a budget.", "A budget shows where your money goes, so write down what you spend."),
        ("Cook at home.", "Meals at home cost less than meals in a restaurant and are often better."),
        ("Compare prices.", "The same thing can cost less in another shop, so look before you buy."),
        ("Buy only what you need.", "A shopping list helps you to buy what you need and nothing more."),
        ("Save a little every month.", "A small sum every month grows to a large sum over the years."),
    ),
    "learning a language": (
        ("Practice every day.", "Ten minutes of practice every day are better than one long hour a week."),
        ("Learn new words.", "Write five new words on a card and read them again in the evening."),
        ("Listen to songs.", "Songs help you to hear how the language sounds and are fun to sing."),
        ("Speak with friends.", "When you speak with friends, you learn to answer fast and without fear."),
        ("Read easy books.", "Easy books show you how words work together in a sentence."),
    ),
    "sleeping better": (
        ("Go to bed early.", "Go to bed at the same early hour every night, so that your body knows when to rest."),
        ("Turn off the phone.", "The light of the phone keeps you awake, so turn it off before bed."),
        ("Keep the room dark.", "A dark and quiet room helps you to fall asleep fast."),
        ("Avoid coffee at night.", "Coffee keeps you awake for hours, so drink tea in the evening."),
        ("Read a quiet book.", "A quiet book calms your mind after a long day."),
    ),
    "writing well": (
        ("Use short sentences.", "Short sentences are easy to read, so say one thing at a time."),
        ("Read your text aloud.", "When you read your text aloud, you hear what does not sound right."),
        ("Choose simple words.", "Simple words are clear to everybody and never out of fashion."),
        ("Make a plan first.", "A plan shows what comes first and what comes last, before you write."),
        ("Remove what you do not need.", "A text gets better with every word that you can remove."),
    ),
    "keeping a garden": (
        ("Water the plants.", "Water the plants in the morning, before the sun is hot."),
        ("Pull the weeds.", "Weeds take the light and the water of your plants, so pull them early."),
        ("Plant in spring.", "In spring the earth is warm and wet, and the seeds grow fast."),
        ("Feed the soil.", "Old leaves feed the soil and make the plants strong."),
        ("Give them light.", "Most plants need six hours of light, so choose a sunny place."),
    ),
    "studying for a test": (
        ("Start early.", "When you start early, you can learn a little every day and stay calm."),
        ("Take short breaks.", "A short break every half hour keeps your mind fresh."),
        ("Write a summary.", "A summary in your own words shows what you have understood."),
        ("Solve old tests.", "Old tests show you what kind of question will come."),
        ("Explain it to a friend.", "When you explain it to a friend, you learn it twice."),
    ),
    "making friends": (
        ("Smile often.", "A smile shows that you are kind and makes it easy to talk to you."),
        ("Listen well.", "People like it when you listen well and ask about their day."),
        ("Be honest.", "An honest word makes a friend trust you for a long time."),
        ("Join a club.", "In a club you meet people who like the same things as you."),
        ("Help others.", "When you help others, they remember it and help you too."),
    ),
}
COUNT_WORDS: Final = {2: "two", 3: "three", 4: "four", 5: "five"}
_ASK_TIPS: Final = (
    "Give {k} tips for {t}.",
    "Give me {k} tips for {t}.",
    "List {k} tips for {t}.",
    "What are {k} tips for {t}?",
    "Name {k} tips for {t}.",
    "Write {k} tips for {t}.",
    "I need {k} tips for {t}.",
)


def tips_pair(rng: random.Random) -> tuple[str, str]:
    """A request for tips and the numbered list that answers it."""
    topic = rng.choice(tuple(TOPICS))
    count = rng.choice((2, 3, 3, 3, 4, 5))
    tips = rng.sample(TOPICS[topic], count)
    ask = rng.choice(_ASK_TIPS).replace("{k}", COUNT_WORDS[count]).replace("{t}", topic)
    return ask, "\n".join(f"{i}. {tip}" for i, (tip, _) in enumerate(tips, 1))


def expansion_pair(rng: random.Random) -> tuple[str, str]:
    """A tip and the sentence that explains it."""
    tip, text = rng.choice(TOPICS[rng.choice(tuple(TOPICS))])
    ask = rng.choice(
        (
            "Expand this tip: {}",
            "Explain this tip: {}",
            "Expand this tip into a sentence: {}",
            "Expand the tip into a paragraph: {}",
            "Say more about this tip: {}",
        )
    )
    return ask.replace("{}", tip), text


def tips_document(rng: random.Random) -> str:
    """Tips in plain text: a list, its expansion and a summary that joins the tips."""
    topic = rng.choice(tuple(TOPICS))
    count = rng.choice((2, 2, 3))
    tips = rng.sample(TOPICS[topic], count)
    listed = " ".join(f"{i}. {tip}" for i, (tip, _) in enumerate(tips, 1))
    head = f"Here are {COUNT_WORDS[count]} tips for {topic}: {listed}"
    joined = ", ".join(tip[0].lower() + tip[1:-1] for tip, _ in tips[:-1])
    last = tips[-1][0][0].lower() + tips[-1][0][1:]
    summary = f"In summary, {rng.choice(('', f'the best tips for {topic} are: '))}{joined} and {last}"
    match rng.randrange(4):
        case 0:
            number = rng.randrange(count)
            return f"{head}\n\nNow, expand tip {number + 1} into a paragraph:\n{tips[number][1]}\n\n"
        case 1:
            lines = "\n".join(f"Tip {i}: {text}" for i, (_, text) in enumerate(tips, 1))
            return f"{head}\n\n{lines}\n{summary}\n"
        case 2:
            start = rng.randrange(3) if rng.random() < 0.5 else 0
            lines = "\n".join(f"Tip {i}: {tip}" for i, (tip, _) in enumerate(tips[:1] if start else tips, start + 1))
            return f"Tips for {topic}:\n{lines}\n" + (
                "" if start else f"Summary: {joined[0].upper()}{joined[1:]} and {last}\n"
            )
        case _:
            ask, answer = tips_pair(rng)
            return f"{ask}\n{answer}\n"


_PLACES: Final = ("forest", "garden", "village", "park", "big house", "small town", "valley", "farm")
_OBJECTS: Final = (
    "red ball",
    "golden key",
    "blue kite",
    "old map",
    "little boat",
    "silver ring",
    "warm hat",
    "green book",
    "toy car",
    "shiny stone",
)
_FEELINGS: Final = ("happy", "curious", "excited", "proud", "glad")
_STORY_ANIMALS: Final = tuple(row[0] for row in world.ANIMALS if row[5] in ("mammal", "bird") and row[0] != "whale")


_OPENINGS: Final = (
    "Once upon a time, there was a little {hero} named {name}.",
    "Once upon a time, a little {hero} named {name} lived in a {place}.",
    "One day, a little {hero} named {name} went to the {place}.",
    "There once was a little {hero}. The name of the {hero} was {name}.",
)
_SCENES: Final = (
    "{name} loved to play in the {place}.",
    "It was a {weather} day and {name} wanted to play outside.",
    "Every day, {name} walked through the {place} and sang a song.",
)
_PLOTS: Final = (
    'One day, {name} found a {thing} in the grass. "What a nice {thing}!" said {name}. But the {thing} belonged to '
    "{friend}. {friend} was very sad. {name} gave the {thing} back to {friend}.",
    "One {weather} day, {name} lost {his} {thing}. {name} looked everywhere, but {he} could not find it. "
    'Then {an_other} came and asked, "Why are you sad?" The {other} helped {name} to look, and they found the {thing} '
    "under a tree.",
    "{name} met {an_other}. The {other} was hungry and cold. {name} shared {his} bread with the {other} and gave it a "
    "warm place to sleep.",
    "{name} wanted to climb the big hill, but {he} was afraid. {friend} took {name} by the hand and said, "
    '"We can do it together." Step by step they climbed the hill.',
    "{name} and {friend} built a little house of wood. Then the wind came and the house fell down. "
    '"Let us try again," said {friend}. This time the house was strong.',
)
_ENDS: Final = (
    "From that day on, {name} and {friend} were best friends.",
    "{name} was very {feeling} and went home with a smile.",
    "They played together until the sun went down.",
    "{name} learned that it is good to help others.",
    "And they lived happily ever after.",
)


def story(rng: random.Random, name: str, hero: str) -> str:
    """A short story about `name`, who is a `hero` (a girl, a boy or an animal)."""
    friend = rng.choice([other for other in world.NAMES if other != name])
    other, thing, place = rng.choice(_STORY_ANIMALS), rng.choice(_OBJECTS), rng.choice(_PLACES)
    feeling, weather = rng.choice(_FEELINGS), rng.choice(("sunny", "windy", "rainy", "cold", "warm"))
    he, his = ("she", "her") if hero == "girl" else ("he", "his") if hero == "boy" else ("it", "its")
    text = " ".join(rng.choice(part) for part in (_OPENINGS, _SCENES, _PLOTS, _ENDS))
    return text.format(
        name=name,
        hero=hero,
        friend=friend,
        other=other,
        an_other=with_article(other),
        thing=thing,
        place=place,
        feeling=feeling,
        weather=weather,
        he=he,
        his=his,
    )


def story_request(rng: random.Random) -> tuple[str, str]:
    """A request for a story about a named hero, and the story."""
    name = any_name(rng)
    hero = rng.choice((rng.choice(_STORY_ANIMALS), "girl", "boy"))
    ask = rng.choice(
        (
            "Tell me a story about {h} named {n}.",
            "Write a short story about {h} named {n}.",
            "Please tell a short story about {h} called {n}.",
            "Write a story about {h} named {n}.",
        )
    )
    return ask.replace("{h}", with_article(hero)).replace("{n}", name), story(rng, name, hero)


def story_document(rng: random.Random) -> str:
    """A story in plain text, sometimes under a title."""
    hero = rng.choice((rng.choice(_STORY_ANIMALS), "girl", "boy"))
    name = any_name(rng)
    text = story(rng, name, hero)
    return rng.choice((f"{text}\n", f"{text}\n", f"Title: {name} the little {hero}\nStory: {text}\n"))


def country_passage(rng: random.Random) -> str:
    """All facts of one country as prose, as JSON or as `key: value` lines."""
    country, capital, continent, language, currency = rng.choice(world.COUNTRIES)
    fields = {
        "country": country,
        "capital": capital,
        "continent": continent,
        "language": language,
        "currency": currency,
    }
    match rng.randrange(3):
        case 0:
            lines = [f"Its capital is {capital}.", f"People there speak {language}.", f"They pay with the {currency}."]
            rng.shuffle(lines)
            return f"{country} is a country in {continent}. {' '.join(lines)}\n"
        case 1:
            keys = ["country", *rng.sample(["capital", "continent", "language", "currency"], rng.randint(1, 4))]
            return json.dumps({key: fields[key] for key in keys}) + "\n"
        case _:
            keys = ["country", *rng.sample(["capital", "continent", "language", "currency"], rng.randint(2, 4))]
            return "".join(f"{key.capitalize()}: {fields[key]}\n" for key in keys)


def animal_passage(rng: random.Random) -> str:
    """All facts of one animal as prose or as JSON."""
    name, legs, food, home, sound, kind, young = rng.choice(world.ANIMALS)
    if rng.random() < 0.4:
        fields = {
            "animal": name,
            "legs": world.NUMBERS.index(legs),
            "food": food,
            "home": home,
            "kind": kind,
            "young": young,
        }
        keys = ["animal", *rng.sample(["legs", "food", "home", "kind", "young"], rng.randint(1, 5))]
        return json.dumps({key: fields[key] for key in keys}) + "\n"
    lines = [
        f"It has {legs} legs.",
        f"It eats {food}.",
        f"It lives in {home}.",
        f"Its young is called {with_article(young)}.",
    ]
    if sound != "-":
        lines.append(f"Its sound is a {sound}.")
    rng.shuffle(lines)
    article = with_article(name)
    return f"{article[0].upper()}{article[1:]} is {with_article(kind)}. {' '.join(lines)}\n"


_LOOKED_UP: Final = tuple(
    r for r in RELATIONS if r.name in ("capital", "continent", "language", "currency", "author", "inventor", "symbol")
)


def _lookup_trace(rng: random.Random, relation: Relation) -> tuple[str, list[tuple[str, str, str]], str]:
    item = fact_item(rng, relation)
    subject = next(s for s, a in relation.pairs if relation.sentence(s, a) == item.sentence)
    observation = item.sentence if rng.random() < 0.6 else fill(rng.choice(relation.says), subject, item.answer)
    return item.question, [(f"I should look up {subject}.", f"lookup[{subject}]", observation)], item.answer


def react_trace(rng: random.Random) -> str:
    """A question solved with the tools `lookup[...]` and `calculate[...]`."""
    if rng.random() < 0.6:
        question, steps, answer = _lookup_trace(rng, rng.choice(_LOOKED_UP))
    else:
        a, operator, b = draw_sum(rng)
        expression = f"{a} {operator} {b}"
        answer = str(evaluate_sum(a, operator, b))
        question = rng.choice(("What is {}?", "How much is {}?", "Compute {}.", "What is the result of {}?")).replace(
            "{}", expression
        )
        steps = [(f"I should calculate {expression}.", f"calculate[{expression}]", answer)]
        if rng.random() < 0.3:
            c = rng.randint(1, 9)
            question = f"What is {expression} and then plus {c}?"
            steps.append((f"Now I should add {c}.", f"calculate[{answer} + {c}]", str(int(answer) + c)))
            answer = str(int(answer) + c)
    lines = [f"Question: {question}"]
    for thought, action, observation in steps:
        lines += [f"Thought: {thought}", f"Action: {action}", f"Observation: {observation}"]
    return "\n".join([*lines, "Thought: I now know the answer.", f"Answer: {answer}"]) + "\n"


def tool_choice(rng: random.Random) -> str:
    """The choice between a calculator and a search engine, and what the tool is given."""
    if rng.random() < 0.5:
        a, operator, b = draw_sum(rng)
        question, tool = (
            rng.choice(("What is {}?", "How much is {}?", "Compute {}.")).replace("{}", f"{a} {operator} {b}"),
            "calculator",
        )
        use = f"The math expression is: {a} {operator} {b}"
    else:
        relation = rng.choice(RELATIONS)
        item = fact_item(rng, relation)
        subject = next(s for s, _ in relation.pairs if relation.sentence(s, item.answer) == item.sentence)
        question, tool, use = item.question, "search engine", f"The key word to search is: {subject}"
    return f"To answer this question: {question} I need to use a {tool}. {use}\n"
