"""A graph as an HTML page that stands alone: the drawing, what it costs, and the nodes as text."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:76rem;padding:0 1.5rem;color:#1f2328;background:#fff}
h1{font-size:1.35rem}svg{max-width:100%;height:auto}
table{border-collapse:collapse;margin:1rem 0}td,th{padding:.25rem .9rem;text-align:left;border-bottom:1px solid #d1d9e0}
td+td{text-align:right;font-variant-numeric:tabular-nums}
pre{font:12px/1.45 ui-monospace,monospace;background:#f6f8fa;padding:1rem;overflow:auto;border-radius:8px}
@media (prefers-color-scheme:dark){
body{background:#0d1117;color:#e6edf3}pre{background:#161b22}td,th{border-color:#3d444d}
}
"""


def page(title: str, svg: str, facts: Sequence[tuple[str, str]], text: str) -> str:
    """Return the page; `facts` are rows of a table, `text` the graph in words."""
    rows = "".join(f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in facts)
    table = f"<table>{rows}</table>" if rows else ""
    return (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        f'<meta name="viewport" content="width=device-width">\n<style>{STYLE}</style>\n<h1>{escape(title)}</h1>\n'
        f"{svg}\n{table}\n<details><summary>Nodes</summary><pre>{escape(text)}</pre></details>\n</html>\n"
    )
