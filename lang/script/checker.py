"""Checks a script: names and scopes, types, options, roles, results and limits. Reports everything it finds.

One walk over the tree in the order of the text. `check_script` gives the facts that compiling needs.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from .checked import Checked
from .diagnostics import Report
from .extents import LIST_LENGTHS, input_length, is_generated, length_of
from .inference import Binding, Inference, Names, narrowed, present_hint, present_in
from .interface import Interface
from .kinds import NULL, STR, UNKNOWN, Kind, ListOf, Record, is_all, is_optional, spelled, union
from .options import constant_of, gen_parameters, select_method
from .role_rules import RoleRules
from .source import Span
from .syntax import (
    Assignment,
    Broken,
    Expression,
    GenHole,
    Header,
    Hole,
    If,
    Item,
    Label,
    Line,
    Repeat,
    Return,
    Role,
    Script,
    SelectHole,
    TypeDefinition,
    ValueHole,
)
from .type_table import BUILT_IN, TypeTable

MAX_LOOP = 10_000
MAX_FORK = 256


def check_script(script: Script, report: Report) -> Checked:
    """Check a script and return the facts about it; they can be relied on when nothing was reported."""
    return _Checker(script, report).check()


class _Checker:
    """One walk. A block has a scope, a `ChainMap` whose first map are the names that it makes itself."""

    def __init__(self, script: Script, report: Report) -> None:
        self.script = script
        self.report = report
        self.broken = _broken_names(script.items)
        self.header = next((item for item in script.items if isinstance(item, Header)), None)
        self.is_open = self.header is None or not script.is_whole  # there may be names that nobody could read
        self.types = TypeTable(report, self.broken, is_open=not script.is_whole)
        self.interface = Interface(report, self.types, self.header)
        self.inference = Inference(report, is_open=self.is_open)
        self.roles = RoleRules(report, blocks_are_closed=script.is_closed)
        self.gens: dict[Span, Kind | None] = {}
        self.options: dict[Span, Mapping[str, Any]] = {}
        self.methods: dict[Span, str] = {}
        self.limits: dict[Span, int] = {}
        self.returns: list[Return] = []

    def check(self) -> Checked:
        """Check everything and return the facts."""
        self._define_types()
        if self.header is not None:
            self.interface.check_name(self.header.label, "a program")
        inputs = self.interface.inputs()
        outer = {name: Binding(UNKNOWN, Span(0, 0)) for name in self.broken}
        for fact, span in inputs.values():
            outer[fact.name] = Binding(fact.kind, span, length=input_length(fact.kind))
        names = ChainMap[str, Binding]({}, outer)
        self._block(self.script.items, names, 0)
        self.roles.finish(self.script.items)
        self.interface.check_last(self.script.items, self.returns)
        result, result_kind = None, None
        if self.script.is_whole:
            result, result_kind = self.interface.result(self.returns, self.inference.kinds, names)
        if not self.is_open and not self.report.num_errors:
            self._warn_unused(names)
        name = self.header.label.name if self.header else ""
        facts = (self.inference.kinds, self.gens, self.options, self.methods, self.limits, self.types.kinds)
        return Checked(self.script, name, tuple(fact for fact, _ in inputs.values()), *facts, result, result_kind)

    def _define_types(self) -> None:
        for item in self.script.items:
            if isinstance(item, TypeDefinition):
                self.interface.check_name(item.label, "a type")
                if not self.types.define(item) and item.label.name not in BUILT_IN:
                    self.report.error("E011", item.label.span, f"there is a type {item.label.name!r} already")
        self.types.resolve_all()

    def _warn_unused(self, names: Names) -> None:
        for name, binding in names.maps[-1].items():
            if not binding.is_used:
                self.report.warn("W001", binding.span, f"the input {name!r} is never used")
        for name, definition in self.types.definitions.items():
            if name not in self.types.used:
                self.report.warn("W001", definition.label.span, f"the type {name!r} is never used")

    # ---- lines -----------------------------------------------------------------------------------------------------

    def _block(self, items: Sequence[Item], names: Names, depth: int) -> None:
        """Check the lines of a block; what they make is added to `names`."""
        for item in items:
            match item:
                case Line(pieces=pieces):
                    for piece in pieces:
                        self.roles.text(item)
                        if not isinstance(piece, str):
                            self._hole(piece, names)
                case Role():
                    self.roles.role(item)
                case Assignment(_, label, value):
                    kind = self.inference.infer(value, names)
                    binding = Binding(kind, label.span, is_generated(value, names), length_of(value, names))
                    self._give(label, binding, names, "a value")
                case If():
                    self._if(item, names, depth)
                case Repeat():
                    self._repeat(item, names, depth)
                case Return():
                    self._return(item, names, depth)
                case Broken(span, broken):
                    self._give_broken(span, broken, names)
                case _:
                    pass

    def _give(self, label: Label, binding: Binding, names: Names, what: str) -> None:
        """Add a name, unless there is one already."""
        self.interface.check_name(label, what)
        earlier = names.get(label.name)
        if earlier is None:
            names[label.name] = binding
        elif earlier.span.end and not self.is_open:
            line, _ = self.report.source.position(earlier.span.start)
            hint = f"it was given in line {line}; a name is given once"
            self.report.error("E011", label.span, f"there is a name {label.name!r} already", hint)

    def _give_broken(self, span: Span, broken: Sequence[str], names: Names) -> None:
        for name in broken:
            if name not in names:
                names[name] = Binding(UNKNOWN, span)

    def _hole(self, hole: Hole, names: Names) -> None:
        match hole:
            case GenHole():
                self._gen(hole, names)
            case SelectHole(span, label, choices, _):
                kind = self._choices(choices, names)
                self.roles.speech(label.span, "select")
                self.methods[span] = select_method(self.report, hole)
                self._give(label, Binding(kind, label.span, True), names, "what is selected")
            case ValueHole(_, value):
                if is_optional(self.inference.infer(value, names)):
                    message = "this may be missing, and would be written as null"
                    self.report.warn("W002", value.span, message, present_hint(value))
            case Broken(span, broken):
                self._give_broken(span, broken, names)

    def _gen(self, hole: GenHole, names: Names) -> None:
        label = hole.label
        kind = None if hole.type is None else self.types.resolve(hole.type, label.name)
        self.roles.speech(label.span, "gen")
        given = gen_parameters(self.report, hole, kind)
        self.gens[hole.span], self.options[hole.span] = kind, given
        binding = Binding(kind or STR, label.span, True)
        if (num := given.get("n", 1)) > 1:
            self.roles.samples(label, num)
            binding = replace(binding, kind=ListOf(binding.kind), length=num)
        self._give(label, binding, names, "what is generated")

    def _choices(self, choices: Expression, names: Names) -> Kind:
        """Return the type of what is chosen."""
        kind = self.inference.infer_present(choices, names, "the list of choices")
        if kind == UNKNOWN:
            return STR
        if not isinstance(kind, ListOf) or not is_all(kind.item, "str"):
            message = f"choices are a list of texts, not a value of type {spelled(kind)}"
            self.report.error("E014", choices.span, message)
            return STR
        constants = constant_of(choices)
        if isinstance(constants, tuple) and (not constants or "" in constants or len(set(constants)) < len(constants)):
            what = "are empty" if not constants else "hold an empty text" if "" in constants else "hold one twice"
            self.report.error("E031", choices.span, f"the choices {what}", "give each choice once")
        return kind.item if kind.item != UNKNOWN else STR

    # ---- blocks ----------------------------------------------------------------------------------------------------

    def _if(self, item: If, names: Names, depth: int) -> None:
        self.roles.enter_branch(item)
        arms: list[Mapping[str, Binding]] = []
        visible = names
        for arm in item.arms:
            inside = visible
            if arm.condition is not None:
                self.inference.infer(arm.condition, visible)
                inside = narrowed(visible, present_in(arm.condition, holds=True))
                visible = narrowed(visible, present_in(arm.condition, holds=False))
            scope = inside.new_child()
            self.roles.enter_arm()
            self._block(arm.body, scope, depth + 1)
            self.roles.leave_arm()
            arms.append(scope.maps[0])
        self.roles.leave_branch(item)
        names.update(_merged(arms, is_total=item.arms[-1].condition is None))

    def _repeat(self, item: Repeat, names: Names, depth: int) -> None:
        kind = self.inference.infer_present(item.items, names, "the list")
        element = self._element(item, kind)
        limit = self.limits[item.span] = self._limit(item, names)
        by_model = is_generated(item.items, names)
        outer = names.new_child()
        loop = Binding(element, item.label.span, by_model, None if by_model else input_length(element))
        self._give(item.label, loop, outer, "an item")
        scope = outer.new_child()
        self.roles.enter_repeat(item)
        self._block(item.body, scope, depth + 1)
        self.roles.leave_repeat(item)
        made = scope.maps[0]
        if item.result is None:
            for name, binding in made.items():
                names[name] = replace(binding, kind=ListOf(binding.kind), length=limit)
            return
        record = Record("", tuple((name, binding.kind) for name, binding in made.items()))
        result = Binding(ListOf(record), item.result.span, True, limit)
        self._give(item.result, result, names, "the results of a fork")

    def _element(self, item: Repeat, kind: Kind) -> Kind:
        if isinstance(kind, ListOf):
            return kind.item
        if kind != UNKNOWN:
            hint = "write range(n) to count" if is_all(kind, "number") else None
            message = f"a list is needed here, not a value of type {spelled(kind)}"
            self.report.error("E014", item.items.span, message, hint)
        return UNKNOWN

    def _limit(self, item: Repeat, names: Names) -> int:
        """Return how many items the block may have."""
        length = length_of(item.items, names)
        word, what, most = ("for", "passes", MAX_LOOP) if item.result is None else ("fork", "branches", MAX_FORK)
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

    def _return(self, item: Return, names: Names, depth: int) -> None:
        if depth:
            hint = "give the value a name with @set, and return it at the end"
            self.report.error("E044", item.span, "@return stands inside a block", hint)
        elif self.returns:
            self.report.error("E044", item.span, "@return is given a second time", "a script returns once")
        self.inference.infer(item.value, names)
        self.returns.append(item)


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
