"""What a script promises around its text: its inputs with their defaults, and its result. Part of the checker."""

from __future__ import annotations

import keyword
from collections.abc import Mapping, Sequence

from ..errors import ParameterError
from .checked import InputFact
from .diagnostics import Report
from .inference import FUNCTIONS, Binding
from .kinds import NULL, UNKNOWN, Kind, Record, check_value, fits, is_optional, spelled, union
from .options import NO_CONSTANT, constant_of
from .source import Span
from .syntax import Assignment, Expression, Header, If, Item, Label, Line, Parameter, Repeat, Return, Role, TypeRecord
from .type_table import BUILT_IN, TypeTable

KEYWORDS = ("gen", "select", "and", "or", "not", "in", "true", "false", "null")
RUN_PARAMETERS = ("backend", "timeout")  # of `Program.run`


class Interface:
    """Checks the inputs and the result of one script."""

    def __init__(self, report: Report, types: TypeTable, header: Header | None) -> None:
        self.report = report
        self.types = types
        self.header = header

    def check_name(self, label: Label, what: str) -> None:
        """Report a name that cannot be given."""
        name, span = label.name, label.span
        if name in KEYWORDS or keyword.iskeyword(name):
            language = "the language" if name in KEYWORDS else "Python"
            self.report.error("E013", span, f"{name!r} is a word of {language} and cannot name {what}", "rename it")
        elif name in FUNCTIONS or name in BUILT_IN:
            kind = "function" if name in FUNCTIONS else "type"
            self.report.error("E013", span, f"{name!r} is a {kind} and cannot name {what}", "rename it")

    # ---- inputs ----------------------------------------------------------------------------------------------------

    def inputs(self) -> dict[str, tuple[InputFact, Span]]:
        """Return the inputs by name, with the places of their names."""
        found: dict[str, tuple[InputFact, Span]] = {}
        first_default: Label | None = None
        for parameter in self.header.parameters if self.header else ():
            label = parameter.label
            self._check_input_name(label, found)
            kind = self.types.resolve(parameter.type, label.name)
            if parameter.default is not None:
                first_default = first_default or label
            elif first_default is not None:
                hint = f"move it before {first_default.name!r}, or give it a default too"
                self.report.error("E041", label.span, f"{label.name!r} has no default, but follows one that has", hint)
            found[label.name] = (self._input(parameter, kind), label.span)
        return found

    def _check_input_name(self, label: Label, found: Mapping[str, object]) -> None:
        self.check_name(label, "an input")
        if label.name in RUN_PARAMETERS:
            self.report.error("E013", label.span, f"{label.name!r} is what run() takes itself", "rename the input")
        if label.name in found:
            self.report.error("E011", label.span, f"there is an input {label.name!r} already")

    def _input(self, parameter: Parameter, kind: Kind) -> InputFact:
        name = parameter.label.name
        if parameter.default is None:
            return InputFact(name, kind)
        value, span = constant_of(parameter.default), parameter.default.span
        if value is NO_CONSTANT:
            self.report.error("E040", span, "a default is a constant", "a text, number, true, false, null or list")
            return InputFact(name, kind, None, required=False)
        try:
            value = check_value(kind, value, "the default")
        except ParameterError as error:
            self.report.error("E040", span, str(error))
        return InputFact(name, kind, value, required=False)

    # ---- the result ------------------------------------------------------------------------------------------------

    def check_last(self, items: Sequence[Item], returns: Sequence[Return]) -> None:
        """Report text after `@return`."""
        is_over = False
        for item in items:
            if is_over and isinstance(item, Line | Role | If | Repeat | Assignment):
                hint = "make @return the last line"
                self.report.error("E044", returns[0].span, "@return stands before the end of the script", hint)
                return
            is_over = is_over or isinstance(item, Return)

    def result(
        self, returns: Sequence[Return], kinds: Mapping[Span, Kind], names: Mapping[str, Binding]
    ) -> tuple[Expression | tuple[str, ...] | None, Kind | None]:
        """Return what makes the result, and the type that is promised; check that the one is of the other."""
        syntax = self.header.result if self.header else None
        wanted = None if syntax is None else self.types.resolve(syntax, "Result")
        if returns:
            value = returns[0].value
            kind = kinds.get(value.span, UNKNOWN)
            if wanted is not None and not fits(kind, wanted):
                message = f"the result is promised to be {spelled(wanted)}, and this is {spelled(kind)}"
                self.report.error("E043", value.span, message)
            return value, wanted
        if syntax is None:
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
