"""Scripts that stand for the whole language, invented and damaged ones, and runs that record what is asked."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ramify import Engine, FakeBackend, Program, Result, use
from ramify.lang.script import explain

HERE = Path(__file__).resolve().parent
GOLDEN = HERE / "golden"
EXAMPLES = HERE.parent.parent / "examples"
EVERYTHING = (HERE / "everything.rmf").read_text(encoding="utf-8")
VALID = {
    "everything": EVERYTHING,
    **{path.stem: path.read_text(encoding="utf-8") for path in sorted(EXAMPLES.glob("*.rmf"))},
    **{path.stem: path.read_text(encoding="utf-8") for path in sorted(GOLDEN.glob("W*.rmf"))},
}
ALL = [*VALID.values(), *(path.read_text(encoding="utf-8") for path in sorted(GOLDEN.glob("E*.rmf")))]

Request = tuple[str, str, str]


@pytest.fixture(params=VALID)
def valid_script(request: pytest.FixtureRequest) -> str:
    """Each script that has no errors: the large one, the examples, and the golden files that only warn."""
    return VALID[request.param]


@pytest.fixture
def everything() -> tuple[str, dict[str, Any]]:
    """The script that uses every construct, and arguments for it."""
    return EVERYTHING, {"xs": ["ab", "c"], "o": {"a": 5, "b": None}}


@pytest.fixture
def examples() -> Path:
    """The folder of examples."""
    return EXAMPLES


@pytest.fixture(scope="session")
def shared_engine() -> Iterator[Engine]:
    """The embedded model, made once."""
    with Engine() as made:
        yield made


@pytest.fixture
def engine(shared_engine: Engine) -> Iterator[Engine]:
    """The embedded model as the default backend, for one test: other folders' tests have a default of their own."""
    with use(shared_engine):
        yield shared_engine


# ---- running -----------------------------------------------------------------------------------------------------


@pytest.fixture
def run() -> Callable[..., tuple[Result, list[Request]]]:
    """Run a program on a backend that invents answers: the result and what was asked, in an order of its own."""
    return _run


@pytest.fixture
def twin_of() -> Callable[[str], Program]:
    """The Python program that `explain` shows, executed."""
    return _twin_of


def _run(program: Program, arguments: dict[str, Any], **options: Any) -> tuple[Result, list[Request]]:
    backend = FakeBackend(**options)
    result = program.run(**arguments, backend=backend)
    gens = [(_prompt(r), repr(r.sampling), repr(r.constraint)) for r in backend.requests]
    scores = [(_prompt(r), repr(r.choices), repr(r.unconditional)) for r in backend.score_requests]
    return result, sorted(gens) + sorted(scores)


def _prompt(request: Any) -> str:
    return repr([(type(piece).__name__, piece.text) for piece in request.prompt])


def _twin_of(text: str) -> Program:
    namespace: dict[str, Any] = {}
    exec(compile(explain(text, "script.rmf"), "twin.py", "exec", dont_inherit=True), namespace)
    (program,) = (value for value in namespace.values() if isinstance(value, Program))
    return program


# ---- damaged scripts ---------------------------------------------------------------------------------------------

PIECES = (
    *("{{", "}}", "{", "}", "@", "@@", "@#", "\\", "\\{{", "\n", "\n\n", "  ", "\t", '"', "'", "/", "|", "?", "(", ")"),
    *("@if x\n", "@elif x\n", "@else\n", "@end\n", "@for i in xs\n", "@fork i in xs as r\n", "@user\n", "@assistant\n"),
    *("@return x\n", "@set y = x\n", "@type T = int\n", "@program p(x: str)\n", "{{gen x}}", "{{gen y: T}}", "{{x}}"),
    *("{{select a from xs}}", "gen ", "select ", " from ", " in ", " as ", " max 3", "not ", " and ", " or ", "null"),
    *("0", "-1", "1e9", "99999999999999999999", "é", "漢", "\u202e", "\x00", "\x1b[31m", "\ud800", "x.y", "x[0]"),
    *("[", "]", "len(", "{{" + "(" * 200, "@if true\n" * 40, "not " * 100, "{{gen x: /(/}}", "@sytem\n", "@while\n"),
)


@pytest.fixture
def damaged() -> Callable[[random.Random], str]:
    """Make a script that somebody cut, doubled, mixed up and typed into."""
    return _damaged


def _damaged(rng: random.Random) -> str:
    text = rng.choice(ALL)
    for _ in range(rng.randint(1, 6)):
        at, length = rng.randrange(len(text) + 1), rng.choice((1, 1, 2, 5, 20, 80))
        match rng.randrange(4):
            case 0:
                text = text[:at] + text[at + length :]
            case 1:
                text = text[:at] + text[at : at + length] * 2 + text[at + length :]
            case 2:
                text = text[:at] + rng.choice(PIECES) + text[at:]
            case _:
                lines = text.split("\n")
                one, other = rng.randrange(len(lines)), rng.randrange(len(lines))
                lines[one], lines[other] = lines[other], lines[one]
                text = "\n".join(lines)
    return text


# ---- invented scripts --------------------------------------------------------------------------------------------


@pytest.fixture
def invented() -> Callable[[random.Random], tuple[str, dict[str, Any]]]:
    """Make a script without errors, and arguments for it."""
    return lambda rng: (_Inventor(rng).script(), {"xs": ["ab", "c", "d e"][: rng.randrange(4)], "n": rng.randrange(4)})


TYPES = ("", ": str", ": int", ": float", ": bool", ": Mood", ": /[a-z]+/", ": list[int]", ": {x: int, y: Mood?}")
WORDS = ("Hello", "a  b", "  indented", "{one}", r"\{{two}}", r"\@three", "@@four", r"five\nsix", "# seven", "é 漢", "")


class _Inventor:
    """Writes random lines; `known` are the names that can be read, with what kind of value they have."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.num = 0

    def script(self) -> str:
        known = {"xs": "texts", "n": "int", "name": "str"}
        lines = ['@program invented(xs: list[str], n: int, name: str = "Ada")', '@type Mood = "good" | "bad"']
        with_roles = self.rng.random() < 0.6
        lines += self.dialogue(known, 0) if with_roles else ["Begin.", *self.prose(known, 0)]
        if self.rng.random() < 0.7:
            lines.append(f"@return {self.value(known)}")
        return "\n".join(lines) + "\n"

    def name(self) -> str:
        self.num += 1
        return f"v{self.num}"

    def dialogue(self, known: dict[str, str], depth: int) -> list[str]:
        """Messages, one after the other; blocks hold messages too."""
        lines: list[str] = []
        for _ in range(self.rng.randint(1, 2)):
            lines += self.rng.choice(([], [""], ["@# remark"]))
            lines += ["@user", *self.prose(known, depth, can_generate=False), "@assistant", *self.prose(known, depth)]
            if depth < 2 and self.rng.random() < 0.4:
                lines += self.block(known, depth, self.dialogue)
        return lines

    def prose(self, known: dict[str, str], depth: int, *, can_generate: bool = True) -> list[str]:
        """Lines of text with holes, blocks between them."""
        lines: list[str] = []
        for _ in range(self.rng.randint(1, 3)):
            kind = self.rng.random()
            if kind < 0.25 and depth < 3:
                lines += self.block(known, depth, lambda k, d: self.prose(k, d, can_generate=can_generate))
            elif kind < 0.3:
                name = self.name()
                lines.append(f"@set {name} = {self.value(known)}")
                known[name] = "any"
            elif kind < 0.4:
                lines.append(self.rng.choice(("", "  ", "@# remark")))
            else:
                lines.append(self.line(known, can_generate=can_generate))
        return lines

    def line(self, known: dict[str, str], *, can_generate: bool) -> str:
        parts = [self.rng.choice(WORDS)]
        for _ in range(self.rng.randint(0, 3)):
            hole = self.rng.random()
            if hole < 0.4 and can_generate:
                name, kind = self.name(), self.rng.choice(TYPES)
                option = self.rng.choice(("", ", max=30", ', stop="\\n"', ", temp=0.5, top_p=0.9", ", seed=7"))
                parts.append(f"{{{{gen {name}{kind}{option} }}}}")
                known[name] = {"": "str", ": str": "str", ": int": "int", ": list[int]": "ints"}.get(kind, "any")
            elif hole < 0.5 and can_generate:
                name = self.name()
                parts.append(f'{{{{select {name} from xs + ["one", "two"]}}}}')
                known[name] = "str"
            else:
                parts.append(f"{{{{{self.value(known)} }}}}")
            parts.append(self.rng.choice((" ", "", ", then ")))
        return "".join(parts) or "."

    def value(self, known: dict[str, str]) -> str:
        name = self.rng.choice(sorted(known))
        match known[name]:
            case "str":
                return self.rng.choice((name, f'{name} + "!"', f"lower({name})", f"len({name})", f"[{name}, name]"))
            case "int":
                return self.rng.choice((name, f"{name} + 1", "range(n)", f"{name} == 3 or not n"))
            case "texts":
                return self.rng.choice((name, f"join({name})", f'{name} + ["z"]', f"len({name}) > 1", f'"c" in {name}'))
            case "ints":
                return self.rng.choice(
                    (name, f"{name} + [1]", f"{name} == [1, 2]", f"3 not in {name}", f"json({name})")
                )
            case _:
                return self.rng.choice((name, f"json({name})", f"[{name}]", f"{name} or 3"))

    def block(self, known: dict[str, str], depth: int, inside: Callable[..., list[str]]) -> Iterator[str]:
        kind = self.rng.choice(("if", "if", "for", "fork"))
        margin = self.rng.choice(("", "  ", "    "))
        if kind == "if":
            arms = [f"@if {self.value(known)}"]
            arms += [f"@elif {self.value(known)}"] * self.rng.randint(0, 1) + ["@else"] * self.rng.randint(0, 1)
            for head in arms:
                yield head
                yield from (margin + line for line in inside(dict(known), depth + 1))
        else:
            item = self.name()
            items, of = self.rng.choice((("xs max 4", "str"), ("range(n) max 3", "int"), ('["p", "q"]', "str")))
            own = {**known, item: of}
            name = self.name()
            yield f"@for {item} in {items}" if kind == "for" else f"@fork {item} in {items} as {name}"
            yield from (margin + line for line in inside(own, depth + 1))
            if kind == "fork":
                known[name] = "any"
        yield "@end"
