"""`ChatTemplate`: a model's own chat template as a serialisable fact, and how it is rendered.

Rendering follows transformers' `apply_chat_template`, without importing transformers. Part of the waist: `api.py` hands
it on; the interpreter reads its markup off it, the engine renders messages with it.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from ..lang.errors import RoleError

if TYPE_CHECKING:
    from jinja2 import Template


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatTemplate:
    """A model's chat template: the jinja source and the special tokens it names (`bos_token`, `eos_token`, ...)."""

    source: str
    special_tokens: tuple[tuple[str, str], ...] = ()

    def check(self) -> None:
        """Raise `RoleError` unless the source is valid jinja."""
        _compile(self.source)

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        add_generation_prompt: bool = False,
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> str:
        """Return the text of a conversation. Raises `RoleError` with the template's own words when it refuses it.

        >>> template = ChatTemplate(source="{% for m in messages %}[{{ m.role }}] {{ m.content }}{% endfor %}")
        >>> template.render([{"role": "user", "content": "Hello"}])
        '[user] Hello'
        """
        from jinja2 import TemplateError

        names: dict[str, Any] = dict(self.special_tokens)
        try:
            return _compile(self.source).render(
                messages=messages,
                add_generation_prompt=add_generation_prompt,
                tools=list(tools) or None,
                documents=None,
                **names,
            )
        except (TemplateError, TypeError, ValueError, LookupError, AttributeError) as error:
            raise RoleError(str(error) or type(error).__name__) from error


@functools.lru_cache(maxsize=32)
def _compile(source: str) -> Template:
    """Compile as transformers does: sandboxed, blocks trimmed, its three helpers defined."""
    import json
    from datetime import datetime

    from jinja2 import TemplateError
    from jinja2.ext import loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def raise_exception(message: str) -> NoReturn:
        raise TemplateError(message)

    def tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None, **options: Any) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **options)

    def strftime_now(pattern: str) -> str:
        return datetime.now().strftime(pattern)

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = strftime_now
    try:
        return environment.from_string(source)
    except TemplateError as error:
        raise RoleError(f"the model's chat template is not valid: {error}") from error
