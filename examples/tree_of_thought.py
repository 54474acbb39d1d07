"""The twin of tree_of_thought.rmf: think of tips, think each one through in branches of its own, choose the best."""

from pathlib import Path

import ramify

WORDS = ("Expand", "Explain")


@ramify.function
def tree_of_thought(s, topic: str, words: list[str] = WORDS):
    s += ramify.user(f"Give three tips for {topic}.")
    with s.assistant():
        for number in range(1, 4):
            s += f"{number}. " + ramify.gen(f"tip{number}", max_tokens=40, stop="\n") + "\n"
    tips = tuple(s[f"tip{number}"] for number in range(1, 4))

    branches = s.fork(len(tips))
    leaves = [branch.fork(len(words)) for branch in branches]
    for tip, twigs in zip(tips, leaves, strict=True):
        for word, leaf in zip(words, twigs, strict=True):
            leaf += ramify.user(f"{word} this tip: {tip}")
            leaf += ramify.assistant(ramify.gen("thought", max_tokens=60, stop="\n"))

    s += ramify.user("Which tip is the best?") + ramify.assistant(ramify.select("best", tips))
    return {"best": s["best"], "tips": tips, "thoughts": tuple(twigs["thought"] for twigs in leaves)}


def main():
    script = ramify.load_script(Path(__file__).with_suffix(".rmf"))
    for program in (script, tree_of_thought):
        print(program.with_sampling(temperature=0).run("writing well").value)


if __name__ == "__main__":
    main()
