"""Text to SQL: a lark grammar made from the schema holds every query, and sqlite runs what the model wrote.

The grammar promises that a query runs and names only what exists, not that it answers the question: the embedded model
has never seen SQL, and of these four questions the last one is about a column that it does not find.
"""

import sqlite3

import ramify

COLUMNS = ("name", "capital", "continent", "language", "currency")
ROWS = [
    ("Brazil", "Brasilia", "South America", "Portuguese", "real"),
    ("Egypt", "Cairo", "Africa", "Arabic", "pound"),
    ("France", "Paris", "Europe", "French", "euro"),
    ("India", "New Delhi", "Asia", "Hindi", "rupee"),
    ("Japan", "Tokyo", "Asia", "Japanese", "yen"),
    ("Kenya", "Nairobi", "Africa", "Swahili", "shilling"),
]
QUESTIONS = [
    "What is the capital of France?",
    "Which currency is used in Japan?",
    "Which countries are in Africa?",
    "What language is spoken in Brazil?",
]
GRAMMAR = """
start: "SELECT " (COLUMN | "count(*)") " FROM country WHERE " test [" ORDER BY " COLUMN [" DESC"]] ";"
test: {tests}
COLUMN: {columns}
"""


def grammar_for(question):
    """The queries over the schema that compare a column with a value which the question mentions."""
    mentioned = {f"{column} = '{v}'" for row in ROWS for column, v in zip(COLUMNS, row, strict=True) if v in question}
    either = [" | ".join(f'"{text}"' for text in texts) for texts in (sorted(mentioned), COLUMNS)]
    return GRAMMAR.format(tests=either[0], columns=either[1])


@ramify.function(temperature=0, max_tokens=60)
def ask(s, question):
    s += ramify.user(question)
    with s.assistant():
        s += ramify.gen("query", grammar=grammar_for(question))
    return s["query"]


def main():
    database = sqlite3.connect(":memory:")
    database.execute(f"CREATE TABLE country ({', '.join(COLUMNS)})")
    database.executemany("INSERT INTO country VALUES (?, ?, ?, ?, ?)", ROWS)
    for question in QUESTIONS:
        query = ask.run(question).value
        print(f"{question}\n  {query}\n  {database.execute(query).fetchall()}")


if __name__ == "__main__":
    main()
