"""What a finished run gives back: variables, text, messages, value and usage. Plain data; nothing waits any more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..backend.api import Usage
from ..lang.errors import VariableError, did_you_mean
from .chain import Chain
from .values import Meta, Variable


class Result:
    """The result of `program.run(...)`.

    `result["name"]` is a variable's value, `result.value` what the body returned, `result.usage` the token counts of
    all its requests. Variables are those of the main branch; join brings those of other branches there.

    >>> import ramify
    >>> @ramify.function
    ... def add(s):
    ...     s += "2+2=" + ramify.gen("sum", type=int)
    >>> result = add.run(backend=ramify.FakeBackend(["4"]))
    >>> result["sum"], result.text()
    (4, '2+2=4')
    """

    def __init__(self, chain: Chain, value: Any) -> None:
        self.value = value
        self.usage: Usage = chain.run.usage
        self.program_id: str = chain.run.id
        self._text: str = chain.conversation.text()
        self._messages = chain.conversation.messages()
        self._variables: dict[str, Variable | BaseException] = {
            name: slot.future.exception() or slot.future.result() for name, slot in chain.slots.items()
        }

    def __getitem__(self, name: str) -> Any:
        return self._variable(name).value

    def __contains__(self, name: object) -> bool:
        return name in self._variables

    def __iter__(self) -> Iterator[str]:
        return iter(self._variables)

    def keys(self) -> tuple[str, ...]:
        """The names of the variables, so that `dict(result)` works."""
        return tuple(self._variables)

    def text(self) -> str:
        """The whole text of the main branch, markup of the chat template included."""
        return self._text

    def messages(self) -> list[dict[str, str]]:
        """The messages of the main branch, as `{"role": ..., "content": ...}`."""
        return [dict(message) for message in self._messages]

    def meta(self, name: str) -> Meta:
        """The meta data of a variable: token counts, finish reason, log-probabilities, scores of a select."""
        return self._variable(name).meta

    def text_of(self, name: str) -> str | tuple[str, ...] | None:
        """The raw text of a variable (a tuple with `n > 1`, None for one that was set or joined)."""
        return self._variable(name).text

    def __repr__(self) -> str:
        return f"<Result {', '.join(f'{name}={self._shown(name)}' for name in self._variables)}>"

    def _shown(self, name: str) -> str:
        found = self._variables[name]
        return repr(found.value) if isinstance(found, Variable) else type(found).__name__

    def _variable(self, name: str) -> Variable:
        found = self._variables.get(name)
        if found is None:
            known = f"; there are: {', '.join(self._variables)}" if self._variables else "; the program defined none"
            raise VariableError(f"unknown variable {name!r}{did_you_mean(name, self._variables) or known}")
        if isinstance(found, BaseException):
            raise found
        return found
