"""The grammar of what a script's text is interrupted by: directives and holes. The whole of it stands here.

A line is the unit of reading (see `reader.py`): it is either a directive, or text with holes in it. So one mistake
costs one line, and blocks are matched by their lines. LALR; the contextual lexer keeps words such as `max`, `from`
and `in` free for names wherever no keyword can stand.
"""

from __future__ import annotations

import functools

from lark import Lark

GRAMMAR = r"""
directive: program | type_definition | role | assignment | if | elif | else | for | fork | return | end

program: "@program" NAME "(" [parameter ("," parameter)* [","]] ")" ["->" type]
parameter: NAME ":" type ["=" expression]
type_definition: "@type" NAME "=" type
role: ROLE
assignment: "@set" NAME "=" expression
if: "@if" expression
elif: "@elif" expression
else: "@else"
for: "@for" NAME _IN expression [_MAX INT]
fork: "@fork" NAME _IN expression [_MAX INT] _AS NAME
return: "@return" expression
end: "@end"

hole: gen | select | expression
gen: _GEN NAME [":" type] ("," option)* [","]
select: _SELECT NAME _FROM expression ("," option)* [","]
option: NAME "=" expression

?type: optional ("|" optional)*
?optional: plain_type
    | plain_type "?" -> nullable
?plain_type: NAME ["[" type "]"] -> type_name
    | (STRING | INT) -> type_literal
    | REGEX -> type_pattern
    | "{" type_field ("," type_field)* [","] "}" -> type_record
    | "(" type ")"
type_field: NAME ":" type

?expression: conjunction (_OR conjunction)*
?conjunction: negation (_AND negation)*
?negation: comparison
    | _NOT negation -> inverse
?comparison: sum
    | sum COMPARE sum
    | sum _IN sum -> contains
    | sum _NOT _IN sum -> lacks
?sum: postfix ("+" postfix)*
?postfix: atom
    | postfix "." NAME -> field
    | postfix "[" expression "]" -> item
?atom: NAME -> name
    | NAME "(" [expression ("," expression)* [","]] ")" -> call
    | (STRING | INT | FLOAT | WORD) -> constant
    | "[" [expression ("," expression)* [","]] "]" -> list
    | "(" expression ")"

ROLE.2: "@system" | "@user" | "@assistant"
COMPARE: "==" | "!=" | "<=" | ">=" | "<" | ">"
WORD.2: /(true|false|null)\b/
_GEN.2: /gen\b/
_SELECT.2: /select\b/
_FROM.2: /from\b/
_IN.2: /in\b/
_AS.2: /as\b/
_MAX.2: /max\b/
_OR.2: /or\b/
_AND.2: /and\b/
_NOT.2: /not\b/
NAME: /[A-Za-z_][A-Za-z0-9_]*/
FLOAT.2: /-?[0-9]+(\.[0-9]+([eE][+-]?[0-9]+)?|[eE][+-]?[0-9]+)\b/
INT: /-?[0-9]+\b/
STRING: /"(\\.|[^"\\\n])*"/
REGEX: /\/(\\.|[^\/\\\n])+\//
SPACE: /[ \t]+/
%ignore SPACE
"""


@functools.cache
def parser() -> Lark:
    """Return the parser of directives and holes; it keeps no state between texts."""
    return Lark(
        GRAMMAR,
        parser="lalr",
        lexer="contextual",
        start=["directive", "hole"],
        propagate_positions=True,
        maybe_placeholders=True,
    )
