"""The grammar plugin `lark`: grammars in lark's syntax, with exactly the language of `Lark(parser="lalr")`.

To read in this order: `process`, `client` (lark's tables); `pattern`, `characters`, `terminal` (one as an automaton);
`scanner`, `lexer` (all of them); `parser`, `borders`, `liveness`, `syntax`; `masks`,
`grammar` (over tokens); `compiler`. Loaded by name.
"""

from .compiler import LarkCompiler

__all__ = ["LarkCompiler"]
