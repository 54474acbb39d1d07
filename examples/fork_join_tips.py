"""Fork and join: write tips one after the other, expand all of them at once, and gather what the branches wrote."""

import ramify

COUNT = 3


@ramify.function(temperature=0, max_tokens=60)
def advise(s, topic):
    s += ramify.user(f"Give three tips for {topic}.")
    with s.assistant():
        for number in range(1, COUNT + 1):
            s += f"{number}. " + ramify.gen(f"tip{number}", stop="\n") + "\n"

    branches = s.fork(COUNT)  # from here on in parallel; the conversation above is computed once
    for number, branch in enumerate(branches, start=1):
        branch += ramify.user("Expand this tip: " + s[f"tip{number}"])
        branch += ramify.assistant(ramify.gen("paragraph"))
    branches.join()
    return s["paragraph"]  # a tuple, in the order of the branches


def main():
    result = advise.run("writing well")
    for number, paragraph in enumerate(result.value, start=1):
        print(f"{number}. {result[f'tip{number}']} {paragraph}")
    last = result.meta("paragraph").samples[-1]
    print(f"Of the last branch's {last.prompt_tokens} prompt tokens, {last.cached_tokens} were in the cache.")


if __name__ == "__main__":
    main()
