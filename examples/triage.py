"""The twin of triage.rmf: the same program written in Python. Both send the same requests."""

from pathlib import Path
from typing import Literal

import ramify

Urgency = Literal["low", "normal", "high"]
TEAMS = ["billing", "technical", "sales"]
TICKETS = ["The server returns an error. All our users are affected.", "I was charged twice this month. It can wait."]


@ramify.function
def triage(s, ticket: str, teams: list[str]):
    s += ramify.system("You sort support tickets.") + ramify.user(ticket)
    with s.assistant():
        s += "Urgency: " + ramify.gen("urgency", type=Urgency)
        s += "\nTeam: " + ramify.select("team", teams)
        if s["urgency"] == "high":
            s += "\nTip 1: " + ramify.gen("tip", max_tokens=40, stop="\n")
        else:
            s.set("tip", None)
        s += "\nSummary: " + ramify.gen("summary", max_tokens=60, stop="\n")
    return {"urgency": s["urgency"], "team": s["team"], "tip": s["tip"], "summary": s["summary"]}


def main():
    script = ramify.load_script(Path(__file__).with_suffix(".rmf"))
    for ticket in TICKETS:
        for program in (script, triage):
            print(program.with_sampling(temperature=0).run(ticket, TEAMS).value)


if __name__ == "__main__":
    main()
