"""Fork and join: write tips one after the other, expand all of them at once, and sum them up."""

import ramify

COUNT = 3


@ramify.function(temperature=0, max_tokens=60)
def advise(s, topic):
    s += f"Here are three tips for {topic}:"
    for number in range(1, COUNT + 1):
        s += f" {number}. " + ramify.gen(f"tip{number}", stop=".") + "."

    branches = s.fork(COUNT)  # from here on in parallel; the text above is computed once
    for number, branch in enumerate(branches, start=1):
        branch += f"\n\nNow, expand tip {number} into a paragraph:\n" + ramify.gen("paragraph", stop="\n")

    s += "\n"
    for number, branch in enumerate(branches, start=1):
        s += f"\nTip {number}: " + branch["paragraph"]
    s += "\nIn summary, " + ramify.gen("summary", stop="\n")
    return [branch["paragraph"] for branch in branches]


def main():
    result = advise.run("staying healthy")
    for number, paragraph in enumerate(result.value, start=1):
        print(f"{number}. {result[f'tip{number}']}: {paragraph}")
    print("In summary, " + result["summary"])


if __name__ == "__main__":
    main()
