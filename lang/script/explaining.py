"""`explain`: a script as the Python program that sends the same requests, its twin.

Reads the same steps that lowering does. The source it gives runs as it stands.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from .checked import Checked, InputFact
from .compiled import CompiledScript, compile_text
from .kinds import Pattern
from .python_types import PythonTypes, literal
from .python_values import HELPERS, PythonValues
from .steps import (
    ArmSteps,
    Choose,
    CloseRole,
    Decide,
    Generate,
    Iterate,
    OpenRole,
    SetValue,
    Step,
    Write,
    WriteValue,
)
from .syntax import GenHole, ListDisplay, SelectHole

WIDTH = 110
TAB = "    "

Names = ChainMap[str, str]  # how the names of the script are read in Python, those of the innermost block first


def explain(script: str | CompiledScript, name: str = "script") -> str:
    """Return the Python twin of a script, given as text or compiled. Raises `ScriptError` for one with errors."""
    compiled = compile_text(script, name) if isinstance(script, str) else script
    return _Twin(compiled).source()


@dataclass(frozen=True, slots=True)
class _Place:
    """Where source is written: the state, how names are read there, and the counters of the loops around.

    The first map of `names` are those that the block makes.
    """

    state: str
    names: Names
    counters: tuple[str, ...] = ()

    def variable(self, name: str) -> str:
        """Return what a variable is called on the state: in loops every pass has its own."""
        if not self.counters:
            return literal(name)
        return f"f{literal(name + ''.join(f'[{{{counter}}}]' for counter in self.counters))}"

    def give(self, name: str) -> None:
        """Note that a variable is there from now on."""
        self.names[name] = f"{self.state}[{self.variable(name)}]"

    def inside(self, names: Mapping[str, str], counter: str | None = None) -> _Place:
        """Return the place of a block in this one."""
        counters = self.counters if counter is None else (*self.counters, counter)
        return _Place(self.state, self.names.new_child(dict(names)).new_child(), counters)

    @property
    def made(self) -> tuple[str, ...]:
        """The names that the block makes."""
        return tuple(self.names.maps[0])


class _Lines:
    """The lines of a block. Parts are summed up until `end_sum`; between roles everything is indented."""

    def __init__(self, state: str) -> None:
        self._state = state
        self._lines: list[str] = []
        self._parts: list[Write | str] = []
        self._margin = ""

    def part(self, part: Write | str) -> None:
        """Append a text or expression to the sum."""
        self._parts.append(part)

    def end_sum(self) -> None:
        """Write what was summed up."""
        parts, self._parts = self._parts, []
        self._lines.extend(self._margin + line for line in _sum(self._state, parts))

    def add(self, lines: Iterable[str]) -> None:
        """Append other lines."""
        self.end_sum()
        self._lines.extend(self._margin + line for line in lines)

    def open_role(self, role: str) -> None:
        """Begin a `with` block."""
        self.add([f"with {self._state}.{role}():"])
        self._margin = TAB

    def close_role(self, otherwise: str) -> None:
        """End it; where none was begun in this block, the role is closed as `otherwise` says."""
        if not self._margin:
            self.add([otherwise])
            return
        self.end_sum()
        if self._lines[-1].startswith("with "):
            self.add(["pass"])
        self._margin = ""

    def finished(self) -> list[str]:
        """Return the lines."""
        self.end_sum()
        return self._lines


class _Twin:
    def __init__(self, compiled: CompiledScript) -> None:
        self.compiled = compiled
        self.checked: Checked = compiled.checked
        self.types = PythonTypes(self.checked.types)
        self.values = PythonValues(self.checked.kinds)
        self.taken = {fact.name for fact in compiled.inputs} | set(_labels(compiled.steps)) | {"json", "majority"}
        self.library = self._fresh("ramify")
        self.values.names["text"] = self._fresh("text")

    def source(self) -> str:
        """Return the whole module."""
        state = self._fresh("s")
        place = _Place(state, ChainMap({fact.name: fact.name for fact in self.compiled.inputs}).new_child())
        name = self._fresh(self.compiled.name)
        head = f"def {name}({', '.join([state, *map(self._parameter, self.compiled.inputs)])}):"
        body = [*self._block(self.compiled.steps, place), *self._result(place)] or ["pass"]
        program = [f"@{self.library}.function", head, *(TAB + line for line in body)]
        helpers = [HELPERS[helper].format(name=self.values.names[helper]) for helper in sorted(self.values.helpers)]
        parts = [self._head(), self.types.source(), *helpers, "\n".join(program)]
        return "\n\n\n".join(part.strip("\n") for part in parts if part) + "\n"

    def _head(self) -> str:
        standard = [f"import {name}" for name in sorted(self.values.imports)]
        own: list[str] = []
        for module, names in sorted(self.types.imports.items()):
            line = f"from {module} import {', '.join(sorted(names))}"
            (standard if module == "typing" else own).append(line)
        library = "import ramify" if self.library == "ramify" else f"import ramify as {self.library}"
        blocks = [
            f'"""The Python twin of {self.compiled.file}: it sends the same requests."""',
            "\n".join(standard),
            "\n".join(own),
            library,
        ]
        return "\n\n".join(block for block in blocks if block)

    def _parameter(self, fact: InputFact) -> str:
        default = "" if fact.required else f" = {literal(fact.default)}"
        return f"{fact.name}: {self.types.annotation(fact.kind)}{default}"

    def _result(self, place: _Place) -> Iterator[str]:
        match self.checked.result:
            case None:
                return
            case tuple(fields):
                yield f"return {{{', '.join(f'{literal(name)}: {place.names[name]}' for name in fields)}}}"
            case expression:
                yield f"return {self.values.source(expression, place.names)}"

    def _fresh(self, name: str) -> str:
        """Return a Python name that nothing else has."""
        number, found = 2, name
        while found in self.taken:
            found, number = f"{name}{number}", number + 1
        self.taken.add(found)
        return found

    # ---- blocks ----------------------------------------------------------------------------------------------------

    def _block(self, steps: Sequence[Step], place: _Place) -> list[str]:
        """Return the lines of a block; `place.made` then holds the names it makes."""
        lines = _Lines(place.state)
        for step in steps:
            match step:
                case Write():
                    lines.part(step)
                case WriteValue(value):
                    lines.part(self.values.text(value, place.names))
                case Generate(hole):
                    lines.part(self._gen(hole, place))
                    lines.end_sum()  # what is appended after it may read it
                case Choose(hole):
                    lines.part(self._select(hole, place))
                    lines.end_sum()
                case OpenRole(role):
                    lines.open_role(role)
                case CloseRole(role):
                    lines.close_role(f"{place.state} += {self.library}.{role}_end()")
                case SetValue(item):
                    source = self.values.source(item.value, place.names)
                    lines.add([f"{place.state}.set({place.variable(item.label.name)}, {source})"])
                case Decide(_, arms):
                    lines.add(self._decide(arms, place))
                case Iterate():
                    inner = self._for if step.item.result is None else self._fork
                    lines.add(inner(step, place))
            if isinstance(step, Generate | Choose):
                place.give(step.hole.label.name)
            elif isinstance(step, SetValue):
                place.give(step.item.label.name)
        return lines.finished()

    def _decide(self, arms: Sequence[ArmSteps], place: _Place) -> Iterator[str]:
        inner = [place.inside({}) for _ in arms]
        bodies = [self._block(arm.steps, inside) for arm, inside in zip(arms, inner, strict=True)]
        made = dict.fromkeys(name for inside in inner for name in inside.made)
        for number, (arm, inside, body) in enumerate(zip(arms, inner, bodies, strict=True)):
            missing = _nothing(place, [name for name in made if name not in inside.made])
            if arm.condition is None:
                if not body and not missing:
                    continue
                yield "else:"
            else:
                yield f"{'elif' if number else 'if'} {self.values.source(arm.condition, place.names)}:"
            yield from (TAB + line for line in [*body, *missing] or ["pass"])
        if made and arms[-1].condition is not None:
            yield "else:"
            yield from (TAB + line for line in _nothing(place, list(made)))
        for name in made:
            place.give(name)

    def _for(self, step: Iterate, place: _Place) -> Iterator[str]:
        item = step.item
        counter = self._fresh("index")
        inside = place.inside({item.label.name: item.label.name}, counter)
        body = self._block(step.steps, inside)
        items = yield from self._items(step, place.names)
        lists = {name: self._fresh(f"{name}_values") for name in inside.made}
        yield from (f"{values} = []" for values in lists.values())
        if lists:
            yield f"for {counter}, {item.label.name} in enumerate({items}):"
        else:
            yield f"for {item.label.name} in {items}:"
        yield from (TAB + line for line in body or ["pass"])
        yield from (f"{TAB}{values}.append({inside.names[name]})" for name, values in lists.items())
        for name, values in lists.items():
            place.give(name)
            yield f"{place.state}.set({place.variable(name)}, tuple({values}))"

    def _fork(self, step: Iterate, place: _Place) -> Iterator[str]:
        item = step.item
        assert item.result is not None
        branch, branches = self._fresh("branch"), self._fresh("branches")
        inside = _Place(branch, place.names.new_child({item.label.name: item.label.name}).new_child())
        body = self._block(step.steps, inside)
        items = yield from self._items(step, place.names)
        is_known = isinstance(item.items, ListDisplay) and item.items.items
        if not is_known and not items.isidentifier():
            yield f"{(stored := self._fresh('items'))} = {items}"
            items = stored
        yield f"{branches} = {place.state}.fork(len({items})){'' if is_known else f' if {items} else []'}"
        yield f"for {item.label.name}, {branch} in zip({items}, {branches}, strict=True):"
        yield from (TAB + line for line in body or ["pass"])
        record = ", ".join(f"{literal(name)}: {inside.names[name]}" for name in inside.made)
        place.give(item.result.name)
        gathered = f"tuple({{{record}}} for {branch} in {branches})"
        yield f"{place.state}.set({place.variable(item.result.name)}, {gathered})"

    def _items(self, step: Iterate, names: Names) -> Generator[str, None, str]:
        """Return the source of a loop's items; yield before it what refuses too many of them."""
        item = step.item
        source = self.values.items(item.items, names)
        if item.limit is None or isinstance(item.items, ListDisplay):
            return source
        stored = source if source.isidentifier() else self._fresh("items")
        if stored != source:
            yield f"{stored} = {source}"
        yield f"if len({stored}) > {item.limit.value}:"
        message = literal(f"at most {item.limit.value} items are allowed")
        yield f"{TAB}raise {self.library}.ProgramError({message})"
        return stored

    # ---- holes -----------------------------------------------------------------------------------------------------

    def _gen(self, hole: GenHole, place: _Place) -> str:
        arguments = [place.variable(hole.label.name)]
        kind = self.checked.gens[hole.span]
        if isinstance(kind, Pattern):
            arguments.append(f"regex={_raw(kind.pattern)}")
        elif kind is not None:
            arguments.append(f"type={self.types.annotation(kind)}")
        for name, value in self.checked.options[hole.span].items():
            arguments.append(f"{name}={literal(value)}")
        return f"{self.library}.gen({', '.join(arguments)})"

    def _select(self, hole: SelectHole, place: _Place) -> str:
        arguments = [place.variable(hole.label.name), self.values.items(hole.choices, place.names)]
        if hole.options:
            arguments.append(f"method={literal(self.checked.methods[hole.span])}")
        return f"{self.library}.select({', '.join(arguments)})"


def _labels(steps: Sequence[Step]) -> Iterator[str]:
    """Yield the names of the items of loops, which become Python's variables."""
    for step in steps:
        match step:
            case Iterate(item, inner):
                yield item.label.name
                yield from _labels(inner)
            case Decide(_, arms):
                for arm in arms:
                    yield from _labels(arm.steps)
            case _:
                pass


def _sum(state: str, parts: Sequence[Write | str]) -> Iterator[str]:
    """Yield the lines that append texts and expressions."""
    if not parts:
        return
    sources = [literal(part.text) if isinstance(part, Write) else part for part in parts]
    line = f"{state} += {' + '.join(sources)}"
    if len(line) <= WIDTH:
        yield line
        return
    yield f"{state} += ("
    line = ""
    for number, part in enumerate(parts):
        for index, chunk in enumerate(_chunks(part.text) if isinstance(part, Write) else [part]):
            plus = "+ " if number and not index else ""
            if line and (index or len(line) + len(plus) + len(chunk) >= WIDTH - len(TAB)):
                yield TAB + line
                line = ""
            line += f" {plus}{chunk}" if line else f"{plus}{chunk}"
    yield TAB + line
    yield ")"


def _chunks(text: str) -> Iterator[str]:
    """Yield a long text as literals that stand below each other: its lines, long ones in parts."""
    lines = text.splitlines(keepends=True)
    if lines[0] == "\n" and len(lines) > 1:  # a line end alone would look odd
        lines[:2] = ["".join(lines[:2])]
    for line in lines:
        rest = line
        while len(rest) > WIDTH - 10:
            cut = rest.rfind(" ", 0, WIDTH - 10) + 1 or WIDTH - 10
            yield literal(rest[:cut])
            rest = rest[cut:]
        yield literal(rest)


def _nothing(place: _Place, names: Sequence[str]) -> list[str]:
    """Return what makes names null that an arm does not make."""
    return [f"{place.state}.set({place.variable(name)}, None)" for name in names]


def _raw(pattern: str) -> str:
    is_plain = '"' not in pattern and not pattern.endswith("\\")
    return f'r"{pattern}"' if is_plain else literal(pattern)
