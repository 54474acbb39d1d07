"""Support tickets: a problem with its team and its tips, and a closing phrase that carries the urgency."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

# team -> problem | short name | three tips
_PROBLEMS: Final = {
    "billing": (
        (
            "I was charged twice this month.",
            "a double charge",
            ("Check both charges on the card.", "Refund the second charge.", "Send a new invoice."),
        ),
        (
            "My invoice shows the wrong amount.",
            "a wrong invoice",
            ("Compare the invoice with the plan.", "Correct the amount.", "Send a new invoice."),
        ),
        (
            "I want a refund for my last payment.",
            "a refund",
            ("Look up the last payment.", "Check the refund rules.", "Confirm the refund by mail."),
        ),
        (
            "My card was declined when I paid.",
            "a declined card",
            ("Ask for another card.", "Check the card number.", "Try the payment again."),
        ),
        (
            "I did not get a receipt for my payment.",
            "a missing receipt",
            ("Look up the payment.", "Send the receipt again.", "Check the mail address."),
        ),
    ),
    "technical": (
        (
            "The app crashes when I open it.",
            "a crash",
            ("Restart the app.", "Install the latest version.", "Send the crash report."),
        ),
        (
            "I cannot log in to my account.",
            "a login problem",
            ("Reset the password.", "Check the user name.", "Clear the browser cache."),
        ),
        (
            "The website is very slow.",
            "a slow website",
            ("Check the connection.", "Close other tabs.", "Look at the server load."),
        ),
        (
            "The server returns an error.",
            "a server error",
            ("Restart the server.", "Read the error log.", "Call the engineer on duty."),
        ),
        (
            "The upload of my file fails.",
            "a failed upload",
            ("Check the size of the file.", "Try another browser.", "Upload the file again."),
        ),
    ),
    "sales": (
        (
            "I would like a quote for ten licenses.",
            "a quote",
            ("Ask for the team size.", "Send the price list.", "Offer a discount."),
        ),
        (
            "What does the large plan cost?",
            "a price question",
            ("Send the price list.", "Explain the plans.", "Offer a free trial."),
        ),
        (
            "We want to upgrade to the business plan.",
            "an upgrade",
            ("Explain the business plan.", "Prepare the contract.", "Set a start date."),
        ),
        (
            "Can we see a demo of the product?",
            "a demo",
            ("Propose a date for the demo.", "Ask what to show.", "Send the product guide."),
        ),
        (
            "Do you offer a discount for schools?",
            "a discount",
            ("Explain the school discount.", "Ask for the school name.", "Send the form."),
        ),
    ),
}
_URGENT: Final = {
    "high": (
        "This is urgent!",
        "Please help right now!",
        "We cannot work at all.",
        "We are losing money every minute.",
        "All our users are affected.",
        "I need this fixed immediately.",
        "It is an emergency.",
        "Our whole company is waiting.",
    ),
    "normal": (
        "Please look into it.",
        "Thank you for your help.",
        "I hope to hear from you this week.",
        "Please let me know.",
        "Could you help me?",
        "I look forward to your answer.",
        "Please help me with this.",
    ),
    "low": (
        "There is no hurry.",
        "It can wait.",
        "Whenever you have time.",
        "It is not important.",
        "Just wondering.",
        "No need to rush.",
        "It is only a small thing.",
    ),
}
_URGENT_HELD: Final = {
    "high": ("This is an emergency!", "I need help right now!", "All our users are waiting and we cannot work."),
    "normal": ("Please let me know this week.", "I hope to hear from you.", "Thank you, please look into it."),
    "low": (
        "It can wait, no hurry.",
        "No need to rush, it is a small thing.",
        "It is not urgent, whenever you have time.",
    ),
}
_OPENINGS: Final = ("", "", "Hello. ", "Hi, ", "Dear team, ", "Good morning. ")


@dataclass(frozen=True, slots=True)
class Ticket:
    """A support ticket and everything that is asked about it."""

    text: str
    urgency: str
    team: str
    topic: str
    tips: tuple[str, ...]

    @property
    def summary(self) -> str:
        """One sentence that names the topic, the team and the urgency."""
        return f"The customer writes about {self.topic}. The {self.team} team handles it with {self.urgency} urgency."


def draw_ticket(rng: random.Random, *, held_out: bool = False) -> Ticket:
    """A ticket with independent team and urgency; held-out ones close with phrases that training never shows."""
    team = rng.choice(tuple(_PROBLEMS))
    problem, topic, tips = rng.choice(_PROBLEMS[team])
    urgency = rng.choice(tuple(_URGENT))
    closing = rng.choice((_URGENT_HELD if held_out else _URGENT)[urgency])
    opening = rng.choice(_OPENINGS)
    text = f"{problem} {closing}" if rng.random() < 0.85 else f"{closing} {problem}"
    if opening.endswith(", ") and not text.startswith("I "):
        text = text[0].lower() + text[1:]
    return Ticket(opening + text, urgency, team, topic, tips)


def report(rng: random.Random, ticket: Ticket) -> str:
    """Some of the lines Urgency, Team, Tip n, Summary, in this order."""
    lines = [f"Urgency: {ticket.urgency}", f"Team: {ticket.team}"]
    if rng.random() < 0.3:
        lines = lines[::-1]
    lines = lines[: rng.choice((1, 2, 2))]
    shape = rng.randrange(4)
    if shape == 1:
        number = rng.randrange(3)
        lines.append(f"Tip {number + 1}: {ticket.tips[number]}")
    elif shape == 2:
        lines += [f"Tip {number + 1}: {tip}" for number, tip in enumerate(ticket.tips)]
    if rng.random() < 0.5:
        first = f"{rng.choice(ticket.tips)} " if rng.random() < 0.4 else ""
        lines.append(f"Summary: {first}{ticket.summary}")
    return "\n".join(lines)
