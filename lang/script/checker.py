"""Checks a script: names and scopes, types, options, roles, results and limits. Reports everything it finds.

One walk over the tree in the order of the text. `check_script` gives the facts that compiling needs.
"""

from __future__ import annotations

import keyword
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..errors import ParameterError
from .checked import Checked, InputFact
from .diagnostics import Report
from .extents import LIST_LENGTHS, input_length, is_generated, length_of
from .inference import FUNCTIONS, Binding, Inference, Names, narrowed, present_hint, present_in
from .kinds import NULL, STR, UNKNOWN, Kind, ListOf, Record, check_value, fits, is_all, is_optional, spelled, union
from .options import NO_CONSTANT, constant_of, gen_parameters, select_method
from .role_rules import RoleRules
from .source import Span
from .syntax import (
    Assignment,
    Broken,
    GenHole,
    Header,
    If,
    Item,
    Label,
    Line,
    Parameter,
    Repeat,
    Return,
    Role,
    Script,
    SelectHole,
    TypeDefinition,
    TypeRecord,
    ValueHole,
)
from .type_table import BUILT_IN, TypeTable

MAX_LOOP = 10_000
MAX_FORK = 256
KEYWORDS = ("gen", "select", "and", "or", "not", "in", "true", "false", "null")
RUN_PARAMETERS = ("backend", "timeout")  # of `Program.run`


def check_script(script: Script, report: Report) -> Checked:
    """Check a script and return the facts about it; they can be relied on when nothing was reported."""
    return _Checker(script, report).check()


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the walk is: how deep in blocks, and in which of them."""

    depth: int = 0
    is_repeated: bool = False


class _Checker:
    def __init__(self, script: Script, report: Report) -> None:
        self.script = script
        self.report = report
        broken = _broken_names(script.items)
        self.header = next((item for item in script.items if isinstance(item, Header)), None)
        self.is_open = self.header is None or not script.is_whole  # inputs could not be read
        self.types = TypeTable(report, broken, is_open=not script.is_whole)
        self.inference = Inference(report, is_open=self.is_open)
        self.roles = RoleRules(report, blocks_are_closed=script.is_closed)
        self.gens: dict[Span, Kind | None] = {}
        self.options: dict[Span, Mapping[str, Any]] = {}
        self.methods: dict[Span, str] = {}
        self.limits: dict[Span, int] = {}
        self.returns: list[Return] = []
        self.broken = broken

    def check(self) -> Checked:
        for item in self.script.items:
            if isinstance(item, TypeDefinition):
                self._check_name(item.label, "a type")
                if not self.types.define(item) and item.label.name not in BUILT_IN:
                    self.report.error("E011", item.label.span, f"there is a type {item.label.name!r} already")
        self.types.resolve_all()
        if self.header is not None:
            self._check_name(self.header.label, "a program")
        inputs = self._inputs(self.header.parameters if self.header else ())
        names: dict[str, Binding] = {
            fact.name: Binding(fact.kind, parameter.label.span, length=input_length(fact.kind))
            for fact, parameter in zip(inputs, self.header.parameters if self.header else (), strict=False)
        }
        for name in self.broken:
            names.setdefault(name, Binding(UNKNOWN, Span(0, 0), is_used=True))
        made = self._block(self.script.items, names, _Place())
        self.roles.finish(self.script.items)
        names.update(made)
        result, kind = self._result(names)
        self._warn_unused(names, inputs)
        name = self.header.label.name if self.header else ""
        facts = (self.inference.kinds, self.gens, self.options, self.methods, self.limits, self.types.kinds)
        return Checked(self.script, name, inputs, *facts, result, kind)

    # ---- the header ------------------------------------------------------------------------------------------------

    def _inputs(self, parameters: Sequence[Parameter]) -> tuple[InputFact, ...]:
        facts: dict[str, InputFact] = {}
        first_default: Label | None = None
        for parameter in parameters:
            label = parameter.label
            self._check_name(label, "an input")
            if label.name in RUN_PARAMETERS:
                self.report.error("E013", label.span, f"{label.name!r} is what run() takes itself", "rename the input")
            if label.name in facts:
                self.report.error("E011", label.span, f"there is an input {label.name!r} already")
            kind = self.types.resolve(parameter.type, label.name)
            facts[label.name] = InputFact(label.name, kind)
            if parameter.default is not None:
                first_default = first_default or label
                facts[label.name] = self._default(parameter, kind)
            elif first_default is not None:
                hint = f"move it before {first_default.name!r}, or give it a default too"
                self.report.error("E041", label.span, f"{label.name!r} has no default, but follows one that has", hint)
        return tuple(facts.values())

    def _default(self, parameter: Parameter, kind: Kind) -> InputFact:
        assert parameter.default is not None
        name, span = parameter.label.name, parameter.default.span
        value = constant_of(parameter.default)
        if value is NO_CONSTANT:
            self.report.error("E040", span, "a default is a constant", "a text, number, true, false, null or list")
            return InputFact(name, kind, None, required=False)
        try:
            value = check_value(kind, value, "the default")
        except ParameterError as error:
            self.report.error("E040", span, str(error))
        return InputFact(name, kind, value, required=False)

    def _check_name(self, label: Label, what: str) -> None:
        name, span = label.name, label.span
        if name in KEYWORDS or keyword.iskeyword(name):
            self.report.error("E013", span, f"{name!r} is a word of the language and cannot name {what}", "rename it")
        elif name in FUNCTIONS or name in BUILT_IN:
            kind = "function" if name in FUNCTIONS else "type"
            self.report.error("E013", span, f"{name!r} is a {kind} and cannot name {what}", "rename it")

    # ---- lines -----------------------------------------------------------------------------------------------------

    def _block(self, items: Sequence[Item], names: Names, place: _Place) -> dict[str, Binding]:
        """Check the lines of a block and return the names they make."""
        made: dict[str, Binding] = {}
        for item in items:
            visible: Names = {**names, **made} if made else names
            match item:
                case Line(pieces=pieces):
                    for piece in pieces:
                        self.roles.text(item)
                        if not isinstance(piece, str):
                            made.update(self._hole(piece, {**names, **made}))
                case Role():
                    self.roles.role(item)
                case Assignment(_, label, value):
                    kind = self.inference.infer(value, visible)
                    found = is_generated(value, visible)
                    binding = Binding(kind, label.span, found, length_of(value, visible), is_used=True)
                    made.update(self._made(label, binding, visible, "a value"))
                case If():
                    made.update(self._if(item, visible, place))
                case Repeat():
                    made.update(self._repeat(item, visible, place))
                case Return():
                    self._return(item, visible, place)
                case Header() | TypeDefinition() if place.depth:
                    self.report.error("E002", item.span, "this stands inside a block", "write it before the text")
                case Broken(names=broken):
                    made.update({name: Binding(UNKNOWN, item.span) for name in broken if name not in visible})
                case _:
                    pass
        return made

    def _made(self, label: Label, binding: Binding, names: Names, what: str) -> dict[str, Binding]:
        """Return the name that is made here, unless there is one already."""
        self._check_name(label, what)
        earlier = names.get(label.name)
        if earlier is None:
            return {label.name: binding}
        if earlier.span.end and not self.is_open:
            line, _ = self.report.source.position(earlier.span.start)
            hint = f"it was given in line {line}; a name is given once"
            self.report.error("E011", label.span, f"there is a name {label.name!r} already", hint)
        return {}

    def _hole(self, hole: GenHole | SelectHole | ValueHole | Broken, names: Names) -> dict[str, Binding]:
        match hole:
            case GenHole(span, label, syntax, _):
                kind = None if syntax is None else self.types.resolve(syntax, label.name)
                self.roles.speech(label.span, "gen")
                given = gen_parameters(self.report, hole, kind)
                self.gens[span], self.options[span] = kind, given
                num = given.get("n", 1)
                value = kind or STR
                if num > 1:
                    self.roles.samples(label, num)
                binding = Binding(ListOf(value) if num > 1 else value, label.span, True, num if num > 1 else None)
                return self._made(label, binding, names, "what is generated")
            case SelectHole(span, label, choices, _):
                kind = self._choices(choices, names)
                self.roles.speech(label.span, "select")
                self.methods[span] = select_method(self.report, hole)
                return self._made(label, Binding(kind, label.span, True), names, "what is selected")
            case ValueHole(_, value):
                kind = self.inference.infer(value, names)
                if is_optional(kind):
                    hint = present_hint(value)
                    self.report.warn("W002", value.span, "this may be missing, and would be written as null", hint)
                return {}
            case Broken(_, broken):
                return {name: Binding(UNKNOWN, hole.span) for name in broken if name not in names}

    def _choices(self, choices: Any, names: Names) -> Kind:
        kind = self.inference.infer_present(choices, names, "the list of choices")
        if kind == UNKNOWN:
            return STR
        if not isinstance(kind, ListOf) or not is_all(kind.item, "str"):
            message = f"choices are a list of texts, not a value of type {spelled(kind)}"
            self.report.error("E014", choices.span, message)
            return STR
        constants = constant_of(choices)
        if isinstance(constants, tuple):
            repeated = {value for value in constants if constants.count(value) > 1}
            if not constants or "" in constants or repeated:
                what = "are empty" if not constants else "hold an empty text" if "" in constants else "hold one twice"
                self.report.error("E031", choices.span, f"the choices {what}", "give each choice once")
        return kind.item if kind.item != UNKNOWN else STR

    # ---- blocks ----------------------------------------------------------------------------------------------------

    def _if(self, item: If, names: Names, place: _Place) -> dict[str, Binding]:
        inner = replace(place, depth=place.depth + 1)
        arms: list[dict[str, Binding]] = []
        self.roles.enter_branch(item)
        visible = names
        for arm in item.arms:
            inside = visible
            if arm.condition is not None:
                self.inference.infer(arm.condition, visible)
                inside = narrowed(visible, present_in(arm.condition, holds=True))
                visible = narrowed(visible, present_in(arm.condition, holds=False))
            self.roles.enter_arm()
            arms.append(self._block(arm.body, inside, inner))
            self.roles.leave_arm()
        self.roles.leave_branch(item)
        is_total = item.arms[-1].condition is None
        return _merged(arms, is_total=is_total)

    def _repeat(self, item: Repeat, names: Names, place: _Place) -> dict[str, Binding]:
        word = "fork" if item.result is not None else "for"
        kind = self.inference.infer_present(item.items, names, "the list")
        element = self._element(item, kind)
        limit = self._limit(item, names, MAX_FORK if item.result else MAX_LOOP, word)
        self.limits[item.span] = limit
        found = is_generated(item.items, names)
        loop = Binding(element, item.label.span, found, None if found else input_length(element))
        inside = {**names, **self._made(item.label, loop, names, "an item")}
        self.roles.enter_repeat(item)
        made = self._block(item.body, inside, _Place(place.depth + 1, is_repeated=True))
        self.roles.leave_repeat(item)
        if item.result is None:
            return {name: replace(found, kind=ListOf(found.kind), length=limit) for name, found in made.items()}
        fields = tuple((name, binding.kind) for name, binding in made.items())
        record = Record("", fields)
        result = Binding(ListOf(record), item.result.span, True, limit)
        return self._made(item.result, result, names, "the results of a fork")

    def _element(self, item: Repeat, kind: Kind) -> Kind:
        if isinstance(kind, ListOf):
            return kind.item
        if kind != UNKNOWN:
            hint = "write range(n) to count" if is_all(kind, "number") else None
            message = f"a list is needed here, not a value of type {spelled(kind)}"
            self.report.error("E014", item.items.span, message, hint)
        return UNKNOWN

    def _limit(self, item: Repeat, names: Names, most: int, word: str) -> int:
        """Return how many items the block may have."""
        length = length_of(item.items, names)
        what = "branches" if word == "fork" else "passes"
        if item.limit is not None:
            limit = item.limit.value
            assert isinstance(limit, int)
            if not 1 <= limit <= most:
                self.report.error("E063", item.limit.span, f"@{word} takes 1 to {most:,} {what}, not {limit:,}")
            return max(0, min(limit, most))
        if length is None and word == "for" and is_generated(item.items, names):
            hint = "write 'max N' after it: how many items there may be"
            self.report.error("E050", item.items.span, "the model decides how long this loop is", hint)
        if length is not None and length > most and length != LIST_LENGTHS:
            self.report.error("E063", item.items.span, f"@{word} has {length:,} {what}; at most {most:,} are allowed")
        return most if length is None else min(length, most)

    # ---- the result ------------------------------------------------------------------------------------------------

    def _return(self, item: Return, names: Names, place: _Place) -> None:
        if place.depth:
            hint = "give the value a name with @set, and return it at the end"
            self.report.error("E044", item.span, "@return stands inside a block", hint)
        elif self.returns:
            self.report.error("E044", item.span, "@return is given a second time", "a script returns once")
        self.inference.infer(item.value, names)
        self.returns.append(item)

    def _result(self, names: Mapping[str, Binding]) -> tuple[Any, Kind | None]:
        self._check_last()
        syntax = self.header.result if self.header else None
        wanted = None if syntax is None else self.types.resolve(syntax, "Result")
        if self.returns:
            value = self.returns[0].value
            kind = self.inference.kinds.get(value.span, UNKNOWN)
            if wanted is not None and not fits(kind, wanted):
                message = f"the result is promised to be {spelled(wanted)}, and this is {spelled(kind)}"
                self.report.error("E043", value.span, message)
            return value, wanted
        if syntax is None or not self.script.is_whole:
            return None, wanted
        if not isinstance(wanted, Record):
            if wanted != UNKNOWN:
                self.report.error("E042", syntax.span, "nothing is returned", "write @return at the end of the script")
            return None, wanted
        labels = {label.name: label.span for label, _ in syntax.fields} if isinstance(syntax, TypeRecord) else {}
        for name, kind in wanted.fields:
            self._check_field(name, kind, names, labels.get(name, syntax.span))
        return tuple(name for name, _ in wanted.fields), wanted

    def _check_field(self, name: str, kind: Kind, names: Mapping[str, Binding], span: Span) -> None:
        if name not in names:
            advice = "give it a value with {{gen}}, {{select}} or @set, or write @return"
            self.report.error("E042", span, f"nothing of the name {name!r} is made for the result", advice)
            return
        names[name].is_used = True
        found = names[name].kind
        if fits(found, kind):
            return
        hint: str | None = None
        if is_optional(found) and fits(found, union((kind, NULL))):
            hint = f"it may be missing: promise {name}: {spelled(union((kind, NULL)))}, or give it in every arm"
        message = f"{name!r} is promised to be {spelled(kind)}, and is {spelled(found)}"
        self.report.error("E043", span, message, hint)

    def _check_last(self) -> None:
        """Report text after `@return`."""
        seen = False
        for item in self.script.items:
            if seen and isinstance(item, Line | Role | If | Repeat | Assignment):
                hint = "make @return the last line"
                self.report.error("E044", self.returns[0].span, "@return stands before the end of the script", hint)
                return
            seen = seen or isinstance(item, Return)

    def _warn_unused(self, names: Mapping[str, Binding], inputs: Sequence[InputFact]) -> None:
        if self.is_open or self.report.num_errors:
            return
        for fact in inputs:
            if fact.name in names and not names[fact.name].is_used:
                self.report.warn("W001", names[fact.name].span, f"the input {fact.name!r} is never used")
        for name, definition in self.types.definitions.items():
            if name not in self.types.used:
                self.report.warn("W001", definition.label.span, f"the type {name!r} is never used")


def _merged(arms: Sequence[Mapping[str, Binding]], *, is_total: bool) -> dict[str, Binding]:
    """Return the names that the arms of an `@if` make; those that an arm leaves out may be null after it."""
    merged: dict[str, Binding] = {}
    for name in dict.fromkeys(name for arm in arms for name in arm):
        found = [arm[name] for arm in arms if name in arm]
        missing = () if is_total and len(found) == len(arms) else (NULL,)
        lengths = [binding.length for binding in found]
        merged[name] = Binding(
            union([*(binding.kind for binding in found), *missing]),
            found[0].span,
            any(binding.is_generated for binding in found),
            None if None in lengths else max(length or 0 for length in lengths),
        )
    return merged


def _broken_names(items: Sequence[Item]) -> set[str]:
    """Return the names that what could not be read would have defined."""
    names: set[str] = set()
    for item in items:
        match item:
            case Broken(names=found):
                names.update(found)
            case If(arms=arms):
                names.update(*(_broken_names(arm.body) for arm in arms))
            case Repeat(body=body):
                names |= _broken_names(body)
            case _:
                pass
    return names
