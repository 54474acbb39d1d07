"""The twin of document_review.rmf: a loop of questions on one document, in one conversation."""

from pathlib import Path
from typing import TypedDict

import ramify

DOCUMENT = "Ada is 31 years old, lives in Paris and works as a pilot."
QUESTIONS = ["How old is Ada?", "Where does Ada live?", "What is the job of Ada?"]


class Names(TypedDict):
    """What the document is about."""

    name: str
    city: str


@ramify.function
def document_review(s, document: str, questions: list[str]):
    s += ramify.user("Extract the name and city as JSON: " + document)
    s += ramify.assistant(ramify.gen("names", type=Names, max_tokens=60))
    for number, question in enumerate(questions):
        s += ramify.user(f"{document} {question}")
        s += ramify.assistant(ramify.gen(f"answer{number}", max_tokens=40))
    answers = tuple(s[f"answer{number}"] for number in range(len(questions)))
    return {"answers": answers, "names": s["names"]}


def main():
    script = ramify.load_script(Path(__file__).with_suffix(".rmf"))
    for program in (script, document_review):
        print(program.with_sampling(temperature=0).run(DOCUMENT, QUESTIONS).value)


if __name__ == "__main__":
    main()
