"""The twin of extract_record_script.rmf: a text about a person in, a checked record out."""

from pathlib import Path
from typing import TypedDict

import ramify

TEXTS = [
    "Ada is 31 years old, lives in Paris and works as a pilot.",
    "Mara is a teacher from Oslo. Mara is 12 years old.",
]


class Person(TypedDict):
    """What is extracted."""

    name: str
    age: int
    city: str
    job: str


@ramify.function
def extract_record_script(s, text: str):
    s += ramify.user("Extract the name, age, city and job as JSON: " + text)
    s += ramify.assistant(ramify.gen("person", type=Person, max_tokens=80))
    person = s["person"]
    letter = f"Dear {person['name']} of {person['city']}"
    return {"person": person, "is_adult": person["age"] >= 18, "letter": letter}


def main():
    script = ramify.load_script(Path(__file__).with_suffix(".rmf"))
    for text in TEXTS:
        for program in (script, extract_record_script):
            print(program.with_sampling(temperature=0).run(text).value)


if __name__ == "__main__":
    main()
