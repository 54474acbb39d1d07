"""A ReAct agent: the model thinks, calls a tool, reads what the tool says, and answers when it knows enough."""

import re

import ramify

ARTICLES = {
    "France": "The capital of France is Paris.",
    "Hamlet": "Hamlet was written by William Shakespeare.",
    "Japan": "The currency of Japan is the yen.",
}
OPERATORS = {"+": int.__add__, "-": int.__sub__, "x": int.__mul__}
QUESTIONS = ["What is the capital of France?", "What is 7 x 8?", "Which currency is used in Japan?"]


def use_tool(action):
    """Run `lookup[title]` or `calculate[a + b]`."""
    tool, argument = re.fullmatch(r"(\w+)\[(.*)\]", action).groups()
    if tool == "lookup":
        return ARTICLES.get(argument, f"There is no article about {argument}.")
    left, operator, right = argument.split()
    return str(OPERATORS[operator](int(left), int(right)))


@ramify.function(temperature=0, max_tokens=40)
def agent(s, question, max_steps=4):
    s += f"Question: {question}\n"
    for step in range(max_steps):
        s += "Thought: " + ramify.gen(f"thought{step}", stop="\n") + "\n"
        s += ramify.select(f"move{step}", ["Action", "Answer"]) + ": "
        if s[f"move{step}"] == "Answer":
            break
        s += ramify.gen(f"action{step}", regex=r"(lookup\[[A-Z][a-z]+\]|calculate\[\d+ [-+x] \d+\])")
        s += f"\nObservation: {use_tool(s[f'action{step}'])}\n"
    s += ramify.gen("answer", stop="\n")
    return s["answer"]


def main():
    for question in QUESTIONS:
        print(agent.run(question).text())
        print()


if __name__ == "__main__":
    main()
