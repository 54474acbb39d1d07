"""A small process that turns grammars into LALR tables with lark; its parent may kill it at any time.

Runs as a script, alone: a grammar of a few lines can keep lark busy for hours. It imports only lark, so it starts in
100 ms. Its answers are what `Lark(grammar, parser="lalr", lexer="contextual")` parses with, as plain lists. Started by
`client`.
"""

import json
import re
import resource
import sys
from collections.abc import Iterator
from typing import Any

MAX_MESSAGE_LEN = 2000  # characters


def main() -> None:
    """Answer requests from standard input until it closes.

    A request is a line of JSON, `[grammar, start rule]`; so is the answer, `{"error": message}` or what `_tables` says.
    """
    sys.path.append(sys.argv[1])  # where lark lies: this interpreter runs without site-packages
    memory = int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    import lark  # noqa: F401  # now, not within the first request's deadline

    for line in sys.stdin.buffer:
        grammar, start = json.loads(line)
        try:
            answer = _tables(grammar, start)
        except RecursionError:
            answer = {"error": "it is nested too deeply"}
        except MemoryError:
            answer = {"error": "it needs too much memory"}
        # lark raises its own errors, `re`'s, and for some odd grammars whatever its code runs into: all are answers
        except Exception as error:  # noqa: BLE001
            answer = {"error": _message(error)}
        sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
        sys.stdout.buffer.flush()


def _tables(grammar: str, start: str) -> dict[str, Any]:
    """Return the tables of `grammar`.

    - `terminals`: in the scanner's order, `[name, regular expression, ignored]`. `refined`: per terminal `[other,
      embedded]` for the strings that a match of it may turn out to be; embedded ones are in no scanner that has it.
    - `rules`: `[name of what is derived, its symbols]`. `start`, `end`: states.
    - `shifts`: per state `{symbol: next state}`; `reductions`: per state `{terminal: rule}`.
    - `kernels`: per state the items `[rule, symbols passed]` it is made of.
    - `shadowed`: whether a conflict was resolved in favour of one of its sides.
    """
    from lark import Lark
    from lark.load_grammar import _parse_grammar
    from lark.parsers.lalr_analysis import LALR_Analyzer

    for statement in _parse_grammar(grammar, "the grammar").children:  # type: ignore[no-untyped-call]  # of lark
        if statement.data == "import" and statement.children[0].data != "import_lib":
            raise ImportError("it imports a file; only lark's own library (%import common.NUMBER) can be imported")
    made: dict[str, Any] = {}

    class Parser:
        """Takes the place of lark's parser, to keep what its analysis found."""

        def __init__(self, conf: Any, debug: bool, strict: bool) -> None:
            analysis = LALR_Analyzer(conf, debug=debug, strict=strict)
            analysis.compute_lalr()  # type: ignore[no-untyped-call]  # of lark
            made["analysis"], made["rules"] = analysis, conf.rules
            self._parse_table = analysis.parse_table

    def lexer(conf: Any, states: Any, always_accept: Any) -> None:
        made["lexer"] = conf

    plugins = {"LALR_Parser": Parser, "ContextualLexer": lexer}
    Lark(grammar, parser="lalr", lexer="contextual", start=start, _plugins=plugins)
    return {**_lexer_tables(made["lexer"]), **_parser_tables(made["analysis"], start)}


def _lexer_tables(conf: Any) -> dict[str, Any]:
    """As `lark.lexer.BasicLexer` and `_create_unless` have it."""
    from lark.lexer import BasicLexer, PatternRE, PatternStr

    terminals = list(BasicLexer(conf).terminals)  # checks every terminal, and sorts them
    strings = [
        (index, terminal) for index, terminal in enumerate(terminals) if isinstance(terminal.pattern, PatternStr)
    ]
    refined = []
    for terminal in terminals:
        pairs: list[tuple[int, bool]] = []
        refined.append(pairs)
        if isinstance(terminal.pattern, PatternRE):
            pattern = re.compile(terminal.pattern.to_regexp(), conf.g_regex_flags)
            for index, other in strings:
                match = pattern.match(other.pattern.value) if other.priority == terminal.priority else None
                if match and match[0] == other.pattern.value:
                    pairs.append((index, set(other.pattern.flags) <= set(terminal.pattern.flags)))
    ignored = set(conf.ignore)
    return {"terminals": [[t.name, t.pattern.to_regexp(), t.name in ignored] for t in terminals], "refined": refined}


def _parser_tables(analysis: Any, start: str) -> dict[str, Any]:
    from lark.parsers.lalr_analysis import Shift

    table = analysis.parse_table
    rules: dict[Any, int] = {}
    kernels = [
        sorted([rules.setdefault(item.rule, len(rules)), item.index] for item in itemset.kernel)
        for itemset in analysis.lr0_itemsets  # in the order of the table's numbers
    ]
    shifts: list[dict[str, int]] = []
    reductions: list[dict[str, int]] = []
    for state in range(len(kernels)):
        actions = table.states[state]
        shifts.append({symbol: target for symbol, (action, target) in actions.items() if action is Shift})
        reductions.append(
            {
                symbol: rules.setdefault(rule, len(rules))
                for symbol, (action, rule) in actions.items()
                if action is not Shift
            }
        )
    return {
        "rules": [[rule.origin.name, [symbol.name for symbol in rule.expansion]] for rule in rules],
        "shifts": shifts,
        "reductions": reductions,
        "kernels": kernels,
        "start": table.start_states[start],
        "end": table.end_states[start],
        "shadowed": any(_conflicts(analysis)),
    }


def _conflicts(analysis: Any) -> Iterator[bool]:
    """Yield for every state and terminal on which it reduces whether it could do something else too."""
    for itemset in analysis.lr0_itemsets:
        for terminal, rules in itemset.lookaheads.items():
            yield len(rules) > 1 or terminal in itemset.transitions


def _message(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text if len(text) <= MAX_MESSAGE_LEN else text[:MAX_MESSAGE_LEN] + " ..."


if __name__ == "__main__":
    main()
