"""JSON schemas as applications write them: the set that compile and mask times are measured over.

`schemas()` gives 62 by hand (extraction, tool calls, configuration, documents, recursion) and 38 drawn from a
seed. All of them are within what every part of `ramify` takes with `strict=True`.
"""

from __future__ import annotations

import random
from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}
INTEGER: Schema = {"type": "integer"}
COUNT: Schema = {"type": "integer", "minimum": 0}
FLAG: Schema = {"type": "boolean"}
DATE: Schema = {"type": "string", "format": "date"}
MOMENT: Schema = {"type": "string", "format": "date-time"}
UUID: Schema = {"type": "string", "format": "uuid"}
EMAIL: Schema = {"type": "string", "format": "email"}
URI: Schema = {"type": "string", "format": "uri"}


def schemas() -> dict[str, Schema]:
    """Return all schemas by name, in a fixed order.

    >>> len(schemas())
    100
    """
    by_hand = {**_extraction(), **_labels(), **_tools(), **_business(), **_operations(), **_structures(), **_large()}
    drawn = {f"drawn-{seed:02}": draw(seed) for seed in range(38)}
    return {**by_hand, **drawn}


def draw(seed: int) -> Schema:
    """Return a schema of 2 to 20 fields and up to 3 levels that depends only on `seed`."""
    rng = random.Random(seed)
    return _draw_record(rng, depth=0)


def record(fields: Schema, optional: Schema | None = None) -> Schema:
    """Return a closed object: all of `fields` required, `optional` after them."""
    return {
        "type": "object",
        "properties": {**fields, **(optional or {})},
        "required": list(fields),
        "additionalProperties": False,
    }


def many(items: Schema, low: int = 0, high: int | None = None) -> Schema:
    """Return an array of `items`."""
    bounds = {"minItems": low} if low else {}
    return {"type": "array", "items": items, **bounds, **({} if high is None else {"maxItems": high})}


def one_of(*values: object) -> Schema:
    """Return an enumeration."""
    return {"enum": list(values)}


def within(low: float, high: float, kind: str = "integer") -> Schema:
    """Return a number between two bounds, both included."""
    return {"type": kind, "minimum": low, "maximum": high}


def short(limit: int) -> Schema:
    """Return a text of 1 to `limit` characters."""
    return {"type": "string", "minLength": 1, "maxLength": limit}


def like(pattern: str) -> Schema:
    """Return a text that matches."""
    return {"type": "string", "pattern": pattern}


def or_null(schema: Schema) -> Schema:
    """Return a value that may be missing."""
    return {"anyOf": [schema, {"type": "null"}]}


def refer(name: str) -> Schema:
    """Return a reference to a definition."""
    return {"$ref": f"#/$defs/{name}"}


ADDRESS = record(
    {"street": TEXT, "city": TEXT, "postcode": like("^[0-9A-Z -]{3,10}$"), "country": like("^[A-Z]{2}$")},
    {"line2": TEXT},
)
MONEY = record({"amount": NUMBER, "currency": one_of("EUR", "USD", "GBP", "CHF", "JPY")})
PERSON = record({"name": short(60), "age": within(0, 130), "email": EMAIL}, {"phone": like(r"^\+?[0-9 ]{6,16}$")})


def _extraction() -> dict[str, Schema]:
    return {
        "person": PERSON,
        "address": ADDRESS,
        "contact": record({"person": PERSON, "address": ADDRESS, "vip": FLAG}),
        "book": record(
            {"title": TEXT, "authors": many(TEXT, 1), "year": within(1450, 2100), "isbn": like("^[0-9]{13}$")}
        ),
        "film": record(
            {"title": TEXT, "year": within(1888, 2100), "genres": many(TEXT, 1, 4), "rating": within(0, 10, "number")},
            {"cast": many(record({"actor": TEXT, "role": TEXT}))},
        ),
        "recipe": record(
            {
                "name": TEXT,
                "servings": within(1, 24),
                "ingredients": many(
                    record({"item": TEXT, "quantity": NUMBER, "unit": one_of("g", "ml", "piece", "tsp")}), 1
                ),
                "steps": many(short(200), 1, 12),
            }
        ),
        "job": record(
            {"title": TEXT, "company": TEXT, "location": TEXT, "remote": FLAG, "skills": many(TEXT, 1, 10)},
            {"salary": MONEY, "posted": DATE},
        ),
        "résumé": record(
            {
                "name": TEXT,
                "positions": many(record({"employer": TEXT, "title": TEXT, "from": DATE, "to": or_null(DATE)})),
                "languages": many(record({"language": TEXT, "level": one_of("A1", "A2", "B1", "B2", "C1", "C2")})),
            }
        ),
        "event": record({"title": TEXT, "start": MOMENT, "end": MOMENT, "attendees": many(EMAIL)}, {"place": TEXT}),
        "minutes": record(
            {"topic": TEXT, "decisions": many(TEXT), "actions": many(record({"who": TEXT, "what": TEXT, "due": DATE}))}
        ),
        "entities": record({"entities": many(record({"text": TEXT, "kind": one_of("PER", "ORG", "LOC", "MISC")}))}),
        "relations": many(record({"subject": TEXT, "predicate": TEXT, "object": TEXT}), 0, 20),
        "citation": record({"key": like("^[a-z]+[0-9]{4}[a-z]?$"), "doi": or_null(TEXT), "pages": within(1, 9999)}),
    }


def _labels() -> dict[str, Schema]:
    return {
        "sentiment": record({"label": one_of("positive", "neutral", "negative"), "confidence": within(0, 1, "number")}),
        "topic": one_of("sport", "politics", "science", "culture", "business", "weather"),
        "triage": record(
            {
                "urgency": one_of("low", "normal", "high"),
                "team": one_of("billing", "platform", "mobile"),
                "reason": short(120),
            }
        ),
        "rating": record({"score": within(1, 5), "aspects": record({"price": within(1, 5), "quality": within(1, 5)})}),
        "quiz": record({"question": TEXT, "options": many(TEXT, 4, 4), "answer": within(0, 3)}),
        "flags": record(dict.fromkeys("spam toxic personal medical legal adult".split(), FLAG)),
        "judgement": record({"reasoning": TEXT, "verdict": one_of("A", "B", "tie")}),
        "translation": record({"language": like("^[a-z]{2}(-[A-Z]{2})?$"), "text": TEXT}),
        "country": one_of(*(f"{a}{b}" for a in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" for b in "AEIORT")),
    }


def _tools() -> dict[str, Schema]:
    weather = record({"tool": {"const": "weather"}, "city": TEXT, "unit": one_of("celsius", "fahrenheit")})
    search = record({"tool": {"const": "search"}, "query": short(200), "limit": within(1, 50)})
    mail = record({"tool": {"const": "send_mail"}, "to": many(EMAIL, 1, 5), "subject": short(80), "body": TEXT})
    return {
        "weather": weather,
        "search": search,
        "mail": mail,
        "any-tool": {"anyOf": [weather, search, mail]},
        "tool-calls": record({"thought": TEXT, "calls": many({"anyOf": [weather, search, mail]}, 1, 3)}),
        "shell": record({"command": TEXT, "timeout": within(1, 600), "environment": _words(TEXT)}),
        "patch": record({"path": TEXT, "edits": many(record({"line": COUNT, "old": TEXT, "new": TEXT}), 1)}),
        "sql": record(
            {"table": like("^[a-z_]{1,30}$"), "columns": many(TEXT, 1), "where": or_null(TEXT), "limit": COUNT}
        ),
        "browser": record(
            {"action": one_of("click", "type", "scroll"), "selector": TEXT}, {"text": TEXT, "pixels": INTEGER}
        ),
        "answer": record({"answer": TEXT, "sources": many(URI, 0, 5), "certain": FLAG}),
    }


def _business() -> dict[str, Schema]:
    line = record({"sku": like("^[A-Z]{3}-[0-9]{4}$"), "quantity": within(1, 999), "price": MONEY}, {"note": TEXT})
    return {
        "order": record({"id": UUID, "placed": MOMENT, "customer": PERSON, "lines": many(line, 1), "paid": FLAG}),
        "invoice": record(
            {"number": like("^[0-9]{4}-[0-9]{5}$"), "issued": DATE, "due": DATE, "to": ADDRESS, "lines": many(line, 1)},
            {"vat": within(0, 0.3, "number")},
        ),
        "product": record(
            {"name": TEXT, "price": MONEY, "tags": many(short(20), 0, 8), "stock": COUNT}, {"sizes": _words(COUNT)}
        ),
        "transaction": record(
            {
                "id": UUID,
                "at": MOMENT,
                "amount": NUMBER,
                "kind": one_of("debit", "credit"),
                "iban": like("^[A-Z]{2}[0-9]{14,20}$"),
            }
        ),
        "shipment": record(
            {
                "carrier": TEXT,
                "stops": many(record({"place": TEXT, "at": MOMENT, "status": one_of("in", "out", "held")})),
            }
        ),
        "flight": record(
            {"number": like("^[A-Z]{2}[0-9]{1,4}$"), "from": like("^[A-Z]{3}$"), "to": like("^[A-Z]{3}$"), "at": MOMENT}
        ),
        "booking": record({"hotel": TEXT, "check_in": DATE, "nights": within(1, 60), "guests": many(PERSON, 1, 6)}),
        "subscription": record({"plan": one_of("free", "pro", "team"), "seats": COUNT, "renews": or_null(DATE)}),
        "patient": record(
            {"id": UUID, "born": DATE, "blood": one_of("A+", "A-", "B+", "B-", "AB+", "AB-", "0+", "0-")},
            {"allergies": many(TEXT), "medication": many(record({"name": TEXT, "mg": NUMBER, "daily": within(1, 6)}))},
        ),
        "property": record(
            {"rooms": within(1, 20), "area": NUMBER, "price": MONEY, "address": ADDRESS, "balcony": FLAG}
        ),
    }


def _operations() -> dict[str, Schema]:
    port = within(1, 65535)
    container = record(
        {"name": like("^[a-z][a-z0-9-]{0,30}$"), "image": TEXT},
        {"ports": many(port), "env": many(record({"name": TEXT, "value": TEXT})), "args": many(TEXT)},
    )
    return {
        "log-line": record(
            {"at": MOMENT, "level": one_of("debug", "info", "warning", "error"), "message": TEXT}, {"span": UUID}
        ),
        "pod": record(
            {
                "kind": {"const": "Pod"},
                "metadata": record({"name": TEXT}, {"labels": _words(TEXT)}),
                "containers": many(container, 1),
            }
        ),
        "server": record({"host": TEXT, "port": port, "tls": FLAG}, {"workers": within(1, 64), "origins": many(URI)}),
        "package": record({"name": TEXT, "version": like(r"^[0-9]+\.[0-9]+\.[0-9]+$"), "dependencies": _words(TEXT)}),
        "feature-flags": _words(record({"on": FLAG, "share": within(0, 100)})),
        "issue": record(
            {"title": TEXT, "body": TEXT, "labels": many(TEXT), "state": one_of("open", "closed"), "number": COUNT}
        ),
        "page": record({"items": many(record({"id": COUNT, "name": TEXT})), "next": or_null(URI), "total": COUNT}),
        "claims": record(
            {"iss": URI, "sub": TEXT, "exp": COUNT}, {"scope": TEXT, "aud": {"anyOf": [TEXT, many(TEXT)]}}
        ),
        "metrics": record({"series": many(record({"at": COUNT, "value": NUMBER}), 1, 100), "unit": TEXT}),
        "address-book": record(
            {
                "hosts": many(
                    record(
                        {"name": {"type": "string", "format": "hostname"}, "ip": {"type": "string", "format": "ipv4"}}
                    )
                )
            }
        ),
    }


def _structures() -> dict[str, Schema]:
    node = record({"value": INTEGER, "children": many(refer("node"))})
    expression: Schema = {
        "anyOf": [
            record({"number": NUMBER}),
            record({"operator": one_of("+", "-", "*", "/"), "left": refer("expression"), "right": refer("expression")}),
        ]
    }
    element = record({"tag": one_of("div", "p", "ul", "li"), "content": many({"anyOf": [TEXT, refer("element")]})})
    point = {"type": "array", "prefixItems": [NUMBER, NUMBER], "items": False, "minItems": 2}
    return {
        "tree": {"$defs": {"node": node}, **refer("node")},
        "expression": {"$defs": {"expression": expression}, **refer("expression")},
        "document": {"$defs": {"element": element}, **refer("element")},
        "polygon": record({"type": {"const": "Polygon"}, "coordinates": many(many(point, 3))}),
        "graph": record(
            {"nodes": many(short(20)), "edges": many(record({"from": COUNT, "to": COUNT}, {"weight": NUMBER}))}
        ),
        "matrix": many(many(NUMBER, 3, 3), 3, 3),
        "counts": _words(COUNT),
        "headers": {"type": "object", "patternProperties": {"^x-": TEXT}, "additionalProperties": False},
    }


def _large() -> dict[str, Schema]:
    group = record({f"field_{i}": [TEXT, INTEGER, FLAG, DATE, within(0, 500)][i % 5] for i in range(8)})
    return {
        "keys-40": record({f"group_{i}": group for i in range(5)}),
        "keys-120": record({f"a_rather_long_key_of_number_{i}": FLAG if i % 2 else within(0, 9) for i in range(120)}),
    }


def _words(value: Schema) -> Schema:
    return {"type": "object", "additionalProperties": value}


def _draw_record(rng: random.Random, depth: int) -> Schema:
    names = (
        "id name kind state size count owner note price weight colour path start end level source target label".split()
    )
    chosen = rng.sample(names, rng.randint(2, 10))
    fields = {name: _draw_value(rng, depth + 1) for name in chosen}
    optional = {f"{name}_{rng.randint(1, 9)}": _draw_value(rng, depth + 1) for name in chosen[: rng.randint(0, 3)]}
    return record(fields, optional)


def _draw_value(rng: random.Random, depth: int) -> Schema:
    simple = [
        TEXT,
        NUMBER,
        INTEGER,
        COUNT,
        FLAG,
        DATE,
        UUID,
        short(rng.randint(5, 80)),
        within(0, rng.randint(1, 10_000)),
    ]
    roll = rng.random()
    if roll < 0.12 and depth < 3:
        return _draw_record(rng, depth)
    if roll < 0.24 and depth < 3:
        return many(_draw_value(rng, depth + 1), rng.randint(0, 2), rng.choice([None, 5, 20]))
    if roll < 0.36:
        return one_of(*(f"{rng.choice('abcdefgh')}{number}" for number in range(rng.randint(2, 12))))
    if roll < 0.44:
        return or_null(rng.choice(simple))
    return rng.choice(simple)
