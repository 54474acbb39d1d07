"""The twin of react.rmf: think, look something up where it has to be, answer."""

from pathlib import Path
from typing import TypedDict

import ramify

ARTICLES = [
    {"title": "France", "text": "The capital of France is Paris."},
    {"title": "Japan", "text": "The currency of Japan is the yen."},
]
QUESTIONS = ["What is the capital of France?", "Which currency is used in Japan?"]


class Article(TypedDict):
    """What can be looked up."""

    title: str
    text: str


@ramify.function
def react(s, question: str, articles: list[Article]):
    s += f"Question: {question}\nThought: " + ramify.gen("thought", stop="\n")
    s += "\n" + ramify.select("move", ["Action", "Answer"]) + ": "
    if s["move"] == "Action":
        s += "lookup[" + ramify.select("title", [article["title"] for article in articles]) + "]\nObservation: "
        for article in articles:
            if article["title"] == s["title"]:
                s += article["text"] + "\n"
        s += "Thought: " + ramify.gen("conclusion", stop="\n") + "\nAnswer: "
    else:
        s.set("title", None)
    s += ramify.gen("answer", stop="\n")
    return {"title": s["title"], "answer": s["answer"]}


def main():
    script = ramify.load_script(Path(__file__).with_suffix(".rmf"))
    for question in QUESTIONS:
        for program in (script, react):
            print(program.with_sampling(temperature=0, max_tokens=40).run(question, ARTICLES).value)


if __name__ == "__main__":
    main()
