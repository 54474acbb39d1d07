"""`Sampling`: the one value that holds every sampling parameter of a generation.

Spelled once; the DSL, the wire and the engine all pass this object, never a list of keywords.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypedDict, Unpack

from .errors import ParameterError, did_you_mean

MAX_STOPS = 32  # strings, ids or patterns of one request: bounds the work per generated token
MAX_STOP_REGEX_LEN = 256
MAX_TOP_LOGPROBS = 100
MAX_N = 256
MAX_TOKEN_ID = 2**31 - 1  # ids travel as 32-bit numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How one generation samples and when it stops. Checked on construction: `ParameterError` names the parameter.

    - `max_tokens` (>= 0), `min_tokens`: bounds on generated tokens; end-of-sequence and stops wait for `min_tokens`.
    - `temperature`: 0 is greedy. `top_k` (0 or -1: off), `top_p` in (0, 1], `min_p` in [0, 1]: filters, in this order,
      after penalties, `logit_bias` and temperature.
    - `frequency_penalty`, `presence_penalty` in [-2, 2]: over the generated tokens. `repetition_penalty` > 0: over
      prompt and generated tokens, as in CTRL.
    - `seed`: same seed, same prompt: same tokens, whatever else runs. None: the engine draws one.
    - `stop` (strings), `stop_token_ids`, `stop_regex` (patterns of `re`): end the text, which is cut before the match.
      `ignore_eos` generates past end-of-sequence.
    - `n`: independent samples. `logprobs`: None off, 0 the chosen token, k also the k most likely; `prompt_logprobs`
      the same for the prompt, from token `logprob_start` on.
    - `heal`: the prompt's last token is taken back and its text is generated again, as the start of the answer, so that
      the border between prompt and answer may lie inside a token. None: what the engine was made with.
    - `backend_hint`: name of the grammar plugin that holds this generation's constraint. None: the engine chooses.
    """

    max_tokens: int = 256
    min_tokens: int = 0
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    seed: int | None = None
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    stop_regex: tuple[str, ...] = ()
    ignore_eos: bool = False
    n: int = 1
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    logprob_start: int = 0
    heal: bool | None = None
    backend_hint: str | None = None

    def __post_init__(self) -> None:
        for name, low, high in _BOUNDS:
            _check_number(name, getattr(self, name), low, high)
        if self.top_p == 0:
            raise ParameterError("top_p must be in (0, 1], got 0")
        if self.repetition_penalty == 0:
            raise ParameterError("repetition_penalty must be greater than 0")
        if self.min_tokens > self.max_tokens:
            raise ParameterError(f"min_tokens ({self.min_tokens}) is greater than max_tokens ({self.max_tokens})")
        for name, value in (("ignore_eos", self.ignore_eos), ("heal", self.heal)):
            if not isinstance(value, bool) and not (value is None and name in _OPTIONAL):
                raise ParameterError(f"{name} must be True or False, got {value!r}")
        if self.backend_hint is not None and (not isinstance(self.backend_hint, str) or not self.backend_hint):
            raise ParameterError(f"backend_hint must be the name of a grammar plugin, got {self.backend_hint!r}")
        for name in ("stop", "stop_token_ids", "stop_regex"):
            _check_stops(name, getattr(self, name))
        _check_bias(self.logit_bias)

    @property
    def is_greedy(self) -> bool:
        """True when the most likely token is always taken."""
        return self.temperature < 1e-6 or self.top_k == 1

    def with_(self, **changes: Unpack[SamplingArguments]) -> Sampling:
        """Return a copy with `changes` in the loose spelling that users write (see `Sampling.of`)."""
        return replace(self, **_normalise(changes))

    @classmethod
    def of(cls, **parameters: Unpack[SamplingArguments]) -> Sampling:
        """Build from the loose spelling that users write.

        `stop="x"` or a list; `logit_bias` as a mapping; `logprobs=True`. Parameters that are None mean "the default".
        Unknown names raise `ParameterError` with the nearest known one.

        >>> Sampling.of(stop="\\n", logit_bias={5: -100.0}).stop
        ('\\n',)
        """
        return cls(**_normalise(parameters))


class SamplingArguments(TypedDict, total=False):
    """The parameters of `Sampling` in the loose spelling that users write, for type checkers and editors.

    None means "the default". What each means is said in `Sampling`.
    """

    max_tokens: int | None
    min_tokens: int | None
    temperature: float | None
    top_p: float | None
    top_k: int | None
    min_p: float | None
    frequency_penalty: float | None
    presence_penalty: float | None
    repetition_penalty: float | None
    logit_bias: Mapping[int, float] | Sequence[tuple[int, float]] | None
    seed: int | None
    stop: str | Iterable[str] | None
    stop_token_ids: int | Iterable[int] | None
    stop_regex: str | Iterable[str] | None
    ignore_eos: bool | None
    n: int | None
    logprobs: int | bool | None
    prompt_logprobs: int | bool | None
    logprob_start: int | None
    heal: bool | None
    backend_hint: str | None


PARAMETERS: tuple[str, ...] = tuple(f.name for f in fields(Sampling))

_BOUNDS: tuple[tuple[str, float, float], ...] = (
    ("max_tokens", 0, 2**31),
    ("min_tokens", 0, 2**31),
    ("temperature", 0, 1e6),
    ("top_p", 0, 1),
    ("top_k", -1, 2**31),
    ("min_p", 0, 1),
    ("frequency_penalty", -2, 2),
    ("presence_penalty", -2, 2),
    ("repetition_penalty", 0, 1e3),
    ("n", 1, MAX_N),
    ("logprob_start", 0, 2**31),
    ("logprobs", 0, MAX_TOP_LOGPROBS),
    ("prompt_logprobs", 0, MAX_TOP_LOGPROBS),
    ("seed", -(2**63), 2**64 - 1),
)
_INTEGERS = {
    "max_tokens",
    "min_tokens",
    "top_k",
    "n",
    "logprob_start",
    "logprobs",
    "prompt_logprobs",
    "seed",
    "a token id in logit_bias",
}
_OPTIONAL = {"logprobs", "prompt_logprobs", "seed", "heal"}


def _check_number(name: str, value: object, low: float, high: float) -> None:
    if value is None and name in _OPTIONAL:
        return
    kind = int if name in _INTEGERS else (int, float)
    if isinstance(value, bool) or not isinstance(value, kind) or value != value:  # NaN is not equal to itself
        want = "an integer" if name in _INTEGERS else "a number"
        raise ParameterError(f"{name} must be {want}, got {value!r}")
    if not low <= value <= high:
        limits = f"at least {low:g}" if high >= MAX_TOKEN_ID and value < low else f"between {low:g} and {high:g}"
        raise ParameterError(f"{name} must be {limits}, got {value!r}")


def _check_stops(name: str, stops: object) -> None:
    kind = int if name == "stop_token_ids" else str
    if not isinstance(stops, tuple) or any(not isinstance(s, kind) or isinstance(s, bool) for s in stops):
        what = "integers" if kind is int else "strings"
        raise ParameterError(f"{name} takes {what}, one or a list of them; got {stops!r}")
    if len(stops) > MAX_STOPS:
        raise ParameterError(f"{name} has {len(stops)} entries; at most {MAX_STOPS} are allowed")
    match name:
        case "stop_token_ids":
            for token_id in stops:
                _check_number("a token id in stop_token_ids", token_id, 0, MAX_TOKEN_ID)
        case "stop" if "" in stops:
            raise ParameterError("stop contains the empty string, which would stop before the first token")
        case "stop_regex":
            for pattern in stops:
                _check_stop_regex(pattern)


def _check_stop_regex(pattern: str) -> None:
    if len(pattern) > MAX_STOP_REGEX_LEN:
        raise ParameterError(f"stop_regex is {len(pattern)} characters long; at most {MAX_STOP_REGEX_LEN}")
    try:
        matches_nothing = re.compile(pattern).match("")
    except (re.error, OverflowError, RecursionError) as error:
        raise ParameterError(f"stop_regex {pattern!r} is not a valid pattern: {error}") from error
    if matches_nothing:
        raise ParameterError(f"stop_regex {pattern!r} matches the empty text, so it would stop before the first token")


def _check_bias(pairs: object) -> None:
    if not isinstance(pairs, tuple) or any(not isinstance(pair, tuple) or len(pair) != 2 for pair in pairs):
        raise ParameterError(f"logit_bias must map token ids to numbers, as in {{5: -100.0}}, got {pairs!r}")
    for token_id, bias in pairs:
        _check_number("a token id in logit_bias", token_id, 0, MAX_TOKEN_ID)
        _check_number("a value in logit_bias", bias, -math.inf, math.inf)
        if bias == math.inf:
            raise ParameterError("a value in logit_bias is infinite; -inf forbids a token, 1000 is enough to force it")


def _normalise(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Turn the loose spelling into field values; drop None (the default)."""
    result: dict[str, Any] = {}
    for name, value in parameters.items():
        if name not in PARAMETERS:
            raise ParameterError(f"unknown sampling parameter {name!r}{did_you_mean(name, PARAMETERS)}")
        if value is None:
            continue
        if name in ("stop", "stop_token_ids", "stop_regex"):
            value = _as_tuple(value)
        elif name == "logit_bias":
            value = _as_pairs(value)
        elif name in ("logprobs", "prompt_logprobs") and isinstance(value, bool):
            value = 0 if value else None
        result[name] = value
    return result


def _as_tuple(value: object) -> object:
    if isinstance(value, (str, int)):
        return (value,)
    if isinstance(value, bytes) or not isinstance(value, Sequence | set | frozenset):
        return value
    return tuple(value)


def _as_pairs(value: object) -> object:
    if isinstance(value, Mapping):
        value = list(value.items())
    if not isinstance(value, list | tuple):
        return value
    pairs = tuple(tuple(pair) if isinstance(pair, list) else pair for pair in value)
    _check_bias(pairs)  # before the pairs are put in order: keys of different kinds have none
    return tuple(sorted(pairs))
