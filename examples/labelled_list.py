"""A labelled list: as many items as asked for, each with one of the labels, as dicts that a type checker knows."""

from collections import Counter
from typing import Annotated, Literal, TypedDict

from pydantic import Field

import ramify

Kind = Literal["mammal", "bird", "fish", "insect", "reptile", "amphibian", "arachnid"]


class Animal(TypedDict):
    """One item and its label."""

    animal: Annotated[str, Field(max_length=12)]
    kind: Kind


Animals = Annotated[list[Animal], Field(min_length=5, max_length=5)]


@ramify.function(temperature=0, frequency_penalty=1.0)
def list_animals(s):
    s += "A shark is a fish. It has zero legs.\nA bee is an insect.\n"
    s += ramify.gen("animals", type=Animals, max_tokens=150)
    return s["animals"]


def main():
    num_shown = 0
    for animals in list_animals.stream().value_iter("animals"):
        # The last item of a list that is still written may lack fields; the others are complete.
        for item in animals[num_shown:]:
            if "kind" in item:
                print(f"{item['animal']:12} {item['kind']}")
                num_shown += 1

    labels = Counter(item["kind"] for item in list_animals.run().value)
    print("Labels:", ", ".join(f"{count} {kind}" for kind, count in sorted(labels.items())))


if __name__ == "__main__":
    main()
