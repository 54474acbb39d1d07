"""Quickstart: typed answers, a select, a fork, and what the prefix cache saved. Runs on the embedded model."""

from typing import Literal

import ramify

TICKET = "The server returns an error. All our users are affected."


@ramify.function(temperature=0)
def triage(s, ticket):
    s += ramify.system("You sort support tickets.")
    s += ramify.user(ticket)
    with s.assistant():
        s += "Urgency: " + ramify.gen("urgency", type=Literal["low", "normal", "high"])
        s += "\nTeam: " + ramify.select("team", ["billing", "technical", "sales"])
        tips = s.fork(2)  # two branches that share everything above, generated side by side
        for number, tip in enumerate(tips, start=1):
            tip += f"\nTip {number}: " + ramify.gen("tip", max_tokens=40, stop="\n")
        tips.join()
        s += "\nSummary: " + ramify.gen("summary", max_tokens=60)


@ramify.function(temperature=0)
def add(s, a, b):
    s += f"Q: What is {a} + {b}?\nA: " + ramify.gen("sum", type=int)
    return s["sum"]


def main():
    with ramify.Engine() as engine, ramify.use(engine):
        result = triage.run(TICKET)
        print(f"Ticket:   {TICKET}")
        print(f"Urgency:  {result['urgency']}")
        print(f"Team:     {result['team']}")
        for row in result.meta("team").scores:
            print(f"          {row.probability:4.0%} {row.choice}")
        for number, tip in enumerate(result["tip"], start=1):
            print(f"Tip {number}:    {tip}")
        print(f"Summary:  {result['summary']}")

        total = add.run(3, 4).value
        print(f"3 + 4:    {total!r}, an {type(total).__name__}")

        stats = engine.stats()
        print(f"Cache:    {stats.cache_hit_rate:.0%} of {stats.prompt_tokens} prompt tokens were reused")


if __name__ == "__main__":
    main()
