"""The script language `.rmf`: prose with holes, compiled to request graphs. See docs/scripts.md.

`check` finds what is wrong, `compile_text` gives a `CompiledScript`, `format_script` tidies, `explain` shows the
Python twin. Runs nothing.
"""

from .compiled import CompiledScript, check, compile_text
from .diagnostics import Diagnostic, render_all
from .explaining import explain
from .formatting import format_script

__all__ = ["CompiledScript", "Diagnostic", "check", "compile_text", "explain", "format_script", "render_all"]
