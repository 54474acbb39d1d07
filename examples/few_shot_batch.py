"""Few-shot classification of a batch: one program, many rows, and the examples are computed only once."""

import ramify

EXAMPLES = """\
Review: The hotel was wonderful. I will come back.
Sentiment: positive
Review: The phone was terrible. I want my money back.
Sentiment: negative
Review: What a nice book!
Sentiment: positive
Review: Honestly, the pizza was awful.
Sentiment: negative
"""
REVIEWS = [
    "We had a fantastic trip.",
    "The service was really poor. Never again!",
    "I think the music was pleasant.",
    "The movie was boring. It made me angry.",
    "For me the coffee was just perfect.",
    "What a dreadful room! I hated it.",
    "In my view the staff was excellent. I recommend it.",
    "The camera was disappointing.",
]


@ramify.function
def classify(s, review):
    s += EXAMPLES
    s += f"Review: {review}\nSentiment: " + ramify.select("sentiment", ["positive", "negative"])
    return s["sentiment"]


def main():
    with ramify.Engine() as engine, ramify.use(engine):
        rows = classify.run_batch([{"review": review} for review in REVIEWS])
        for review, row in zip(REVIEWS, rows, strict=True):
            match row:
                case ramify.Ok(result):
                    print(f"{result.value:10} {review}")
                case ramify.Failed(error):
                    print(f"failed     {review} ({error})")

        print(f"{engine.stats().cache_hit_rate:.0%} of the prompt tokens came from the cache")


if __name__ == "__main__":
    main()
