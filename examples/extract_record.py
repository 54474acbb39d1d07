"""Record extraction: a text goes in, a pydantic model comes out, readable field by field on the way."""

from pydantic import BaseModel, Field

import ramify

TEXTS = [
    "Ada is 31 years old, lives in Paris and works as a pilot.",
    "Tom works as a nurse. He is 45 years old and lives in Rome.",
    "Lucy lives in Madrid. She is 28 years old and works as a teacher.",
]


class Person(BaseModel):
    """What the text says about somebody."""

    name: str = Field(max_length=20)
    age: int = Field(ge=0, le=120)
    city: str
    job: str


class Pet(BaseModel):
    """Holds a set, which no mask can."""

    owner: str
    tags: set[str]


@ramify.function(temperature=0, max_tokens=80)
def extract(s, text):
    s += f"Text: {text}\nJSON: " + ramify.gen("person", type=Person)
    return s["person"]


def main():
    # Every answer is a Person: the mask lets through no other text, and pydantic has validated the value.
    for row in extract.run_batch([{"text": text} for text in TEXTS]):
        print(repr(row.unwrap()["person"]))

    # The same value while it is written: a dict of the fields that are complete, and at the end the model.
    for partial in extract.stream(TEXTS[0]).value_iter("person"):
        print(partial)

    # What no mask can hold is refused where it is written, by the path of the field.
    try:
        ramify.gen("pet", type=list[Pet])
    except ramify.ConstraintError as error:
        print(f"Refused: {error}")


if __name__ == "__main__":
    main()
