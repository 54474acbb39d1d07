"""The twin of self_check.rmf: the same question put in several ways, in parallel; the answers vote."""

from collections import Counter
from pathlib import Path

import ramify

ASKS = ("What is", "Compute", "How much is")


@ramify.function
def self_check(s, sum: str, asks: list[str] = ASKS):
    s += ramify.system("Give only the answer.")
    tries = s.fork(len(asks))  # the branches share the system message
    for ask, branch in zip(asks, tries, strict=True):
        branch += ramify.user(f"{ask} {sum}")
        branch += ramify.assistant(ramify.gen("number", type=int))
    votes = tries["number"]
    return {"answer": Counter(votes).most_common(1)[0][0], "votes": votes}


def main():
    script = ramify.load_script(Path(__file__).with_suffix(".rmf"))
    for sum in ("7 + 8?", "9 x 6?"):
        for program in (script, self_check):
            print(program.with_sampling(temperature=0).run(sum).value)


if __name__ == "__main__":
    main()
