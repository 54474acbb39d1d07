"""A conversation of several turns, streamed as it is written; every turn reuses the cache of the turns before it."""

import ramify

QUESTIONS = [
    "Hello! My name is Mara. I live in Oslo.",
    "What is the capital of Japan?",
    "What is 7 + 5?",
    "What is my name?",
    "In which city do I live?",
]


@ramify.function(temperature=0, max_tokens=60)
def conversation(s, questions):
    s += ramify.system("You are a helpful assistant.")
    for number, question in enumerate(questions):
        s += ramify.user(question)
        s += ramify.assistant(ramify.gen(f"answer{number}"))


def main():
    run = conversation.stream(QUESTIONS)
    for number, question in enumerate(QUESTIONS):
        print(f"You:    {question}\nRamify: ", end="")
        for piece in run.text_iter(f"answer{number}"):
            print(piece, end="", flush=True)
        print()

    last = run.meta(f"answer{len(QUESTIONS) - 1}")
    print(f"Of the last prompt's {last.prompt_tokens} tokens, {last.cached_tokens} were in the cache.")


if __name__ == "__main__":
    main()
