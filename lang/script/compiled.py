"""`CompiledScript`: a script without errors, ready to become a graph for any sampling defaults.

The way from a text to it: read, check, lay out, lower. Called through the functions of this package.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..graph import RequestGraph
from ..graph.limits import Limits, most_tokens
from .checked import Checked, InputFact
from .checker import check_script
from .diagnostics import Diagnostic, Report
from .kinds import annotation_of, check_value
from .layout import layout
from .lowering import lower
from .reader import read
from .source import Source, Span
from .steps import Step
from .syntax import Header

NO_TEXT = re.compile("[\0\ud800-\udfff]")
MAX_NODES = 10_000
MAX_TOKENS = 100_000_000  # that one run can generate: every loop as long as its limit
LIMITS = Limits(nodes=MAX_NODES, tokens=MAX_TOKENS)


@dataclass(frozen=True, slots=True)
class CompiledScript:
    """A checked script. `graph()` is its request graph; `warnings` are what checking noted besides."""

    checked: Checked
    steps: tuple[Step, ...]
    warnings: tuple[Diagnostic, ...] = ()

    @property
    def name(self) -> str:
        """The name that `@program` gives it."""
        return self.checked.name

    @property
    def file(self) -> str:
        """What the text was called."""
        return self.checked.script.source.name

    @property
    def inputs(self) -> tuple[InputFact, ...]:
        """The inputs, in order."""
        return self.checked.inputs

    def annotations(self) -> dict[str, Any]:
        """Return the Python types of the inputs, and of the result as "return" if it has one."""
        found = {fact.name: annotation_of(fact.kind) for fact in self.inputs}
        if self.checked.result_kind is not None:
            found["return"] = annotation_of(self.checked.result_kind)
        return found

    def graph(self, defaults: Mapping[str, Any] | None = None) -> RequestGraph:
        """Return the graph, with sampling parameters for gens that do not say theirs.

        Raises `ParameterError` when `defaults` and a gen's own parameters do not go together, and `ProgramError` when a
        run could generate too many tokens with them.
        """
        graph = lower(self.checked, self.steps, defaults or {})
        graph.verify(LIMITS)
        return graph

    def check_inputs(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the inputs, lists as tuples; `ParameterError` names the one that is wrong, and the place in it."""
        kinds = {fact.name: fact.kind for fact in self.inputs}
        return {
            name: check_value(kinds[name], value, f"{self.name}: input {name!r}") if name in kinds else value
            for name, value in given.items()
        }


def compile_text(text: str, name: str = "script") -> CompiledScript:
    """Compile the text of a script; `name` is what diagnostics call it. Raises `ScriptError` with all diagnostics."""
    compiled, report = _compile(text, name)
    report.raise_errors()
    assert compiled is not None
    return compiled


def check(text: str, name: str = "script") -> list[Diagnostic]:
    """Return everything that is wrong with a script, in the order of the text; warnings among it.

    >>> [found.code for found in check("@program p()\\n@user\\nHi {{name}}")]
    ['E010']
    """
    return list(_compile(text, name)[1].sorted())


def _compile(text: str, name: str) -> tuple[CompiledScript | None, Report]:
    source = Source.of(text, name)
    report = Report(source)
    if _has_broken_text(source, report):
        return None, report
    script = read(source, report)
    checked = check_script(script, report)
    if report.num_errors:
        return None, report
    steps = layout(script.items)
    return (CompiledScript(checked, steps, report.sorted()) if _fits(checked, steps, report) else None), report


def _has_broken_text(source: Source, report: Report) -> bool:
    """Report characters that no text has: half a surrogate pair, and the zero byte."""
    found = NO_TEXT.search(source.text)
    if found is None:
        return False
    character = found[0]
    is_byte = "\udc80" <= character <= "\udcff"  # what "surrogateescape" makes of a byte
    what = f"the byte {ord(character) - 0xDC00:#04x} is not UTF-8" if is_byte else f"{character!r} is no text"
    report.error("E007", Span(found.start(), found.end()), what, "save the file as text in UTF-8")
    return True


def _fits(checked: Checked, steps: tuple[Step, ...], report: Report) -> bool:
    """False when the graph, or a run of it, could become too large, which is reported."""
    graph = lower(checked, steps, {})
    header = next(item for item in checked.script.items if isinstance(item, Header))
    num, tokens = len(graph.nodes), most_tokens(graph.nodes)
    if num > MAX_NODES:
        report.error("E062", header.span, f"the script makes {num:,} nodes; at most {MAX_NODES:,} are allowed")
        return False
    if tokens > MAX_TOKENS:
        message = f"a run could generate {tokens:,} tokens; at most {MAX_TOKENS:,} are allowed"
        report.error("E064", header.span, message, "give the loops a lower 'max', and the gens too")
        return False
    graph.verify(LIMITS)
    return True
