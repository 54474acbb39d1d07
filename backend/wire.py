"""The one codec of the waist: requests, answers and errors as plain values (dict, list, str, number) and back.

JSON and msgpack carry them alike, between client and server and between the server and its engine process. Defaults are
left out. Decoding trusts nothing: what is wrong raises `ParameterError` that names the place.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from types import NoneType
from typing import Any, TypeVar

from ..lang import errors
from ..lang.constraints import Choices, Constraint, Grammar, JsonSchema, Regex
from ..lang.errors import BackendError, GenError, ParameterError, RamifyError, RequestError, ScriptError, did_you_mean
from ..lang.sampling import Sampling
from .api import (
    Capabilities,
    ChatTemplate,
    ChoiceScore,
    Chunk,
    Finish,
    Hints,
    Markup,
    Piece,
    Request,
    ScoreRequest,
    Text,
    TokenLogprob,
    Tokens,
    Usage,
    prompt_text,
)

Plain = dict[str, Any]
T = TypeVar("T")


def encode_request(request: Request) -> Plain:
    """Return a generation request as plain values.

    >>> encode_request(Request(prompt=(Text("Hi"),), id="1", sampling=Sampling(max_tokens=5)))
    {'prompt': ['Hi'], 'sampling': {'max_tokens': 5}, 'id': '1'}
    """
    plain: Plain = {"prompt": [_encode_piece(piece) for piece in request.prompt]}
    if sampling := _encode_fields(request.sampling):
        plain["sampling"] = sampling
    if request.constraint is not None:
        plain["constraint"] = encode_constraint(request.constraint)
    if not request.stream:
        plain["stream"] = False
    plain["id"] = request.id
    if hints := _encode_fields(request.hints):
        plain["hints"] = hints
    return plain


def decode_request(plain: Any) -> Request:
    """Return the request; an `id` is made where none is given."""
    given = _record(plain, "the request", Request)
    return Request(
        prompt=_decode_prompt(given.pop("prompt", None)),
        sampling=decode_sampling(given.pop("sampling", {})),
        constraint=_optional(given.pop("constraint", None), decode_constraint),
        hints=_decode_hints(given.pop("hints", {})),
        **given,
    )


def digest(request: Request | ScoreRequest) -> str:
    """Return a short name for what a request asks, which differs when its prompt, parameters or constraint do."""
    match request:
        case Request(sampling=sampling, constraint=constraint):
            asked: Any = [_encode_fields(sampling), None if constraint is None else encode_constraint(constraint)]
        case ScoreRequest(choices=choices, unconditional=unconditional):
            asked = [choices, unconditional]
    content = json.dumps([prompt_text(request.prompt), asked])
    return hashlib.blake2b(content.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


def encode_score_request(request: ScoreRequest) -> Plain:
    """Return a scoring request as plain values."""
    plain: Plain = {
        "prompt": [_encode_piece(piece) for piece in request.prompt],
        "choices": list(request.choices),
        "id": request.id,
    }
    if request.unconditional:
        plain["unconditional"] = True
    if hints := _encode_fields(request.hints):
        plain["hints"] = hints
    return plain


def decode_score_request(plain: Any) -> ScoreRequest:
    """Return the scoring request."""
    given = _record(plain, "the request", ScoreRequest)
    choices = given.pop("choices", None)
    if not isinstance(choices, list) or not all(isinstance(choice, str) for choice in choices):
        raise ParameterError(f"choices must be a list of strings, got {choices!r}")
    return ScoreRequest(
        prompt=_decode_prompt(given.pop("prompt", None)),
        choices=tuple(choices),
        hints=_decode_hints(given.pop("hints", {})),
        **given,
    )


def decode_sampling(plain: Any) -> Sampling:
    """Return sampling parameters, in the loose spelling of `Sampling.of`."""
    if not isinstance(plain, dict):
        raise ParameterError(f"sampling must be an object, got {plain!r}")
    return Sampling.of(**plain)


def encode_constraint(constraint: Constraint) -> Plain:
    """Return a constraint under the name that `gen` has for it."""
    match constraint:
        case Regex(pattern):
            return {"regex": pattern}
        case JsonSchema(schema):
            return {"json_schema": schema, **_others(constraint, "schema")}
        case Grammar(grammar):
            return {"grammar": grammar, **_others(constraint, "grammar")}
        case Choices(choices):
            return {"choices": list(choices)}


_CONSTRAINTS: dict[str, tuple[Callable[..., Constraint], type]] = {
    "regex": (Regex, str),
    "json_schema": (JsonSchema, str),
    "grammar": (Grammar, str),
    "choices": (lambda choices: Choices(tuple(choices)), list),
}


def decode_constraint(plain: Any) -> Constraint:
    """Return a constraint; `ParameterError` unless exactly one kind is there and of its type."""
    kinds = [kind for kind in _CONSTRAINTS if isinstance(plain, dict) and kind in plain]
    if len(kinds) != 1:
        raise ParameterError(f"a constraint is an object with one of {', '.join(_CONSTRAINTS)}; got {plain!r}")
    make, kind = _CONSTRAINTS[kinds[0]]
    others = {key: value for key, value in plain.items() if key != kinds[0]}
    if not isinstance(plain[kinds[0]], kind):
        raise ParameterError(f"constraint.{kinds[0]} is of type {type(plain[kinds[0]]).__name__}")
    try:
        return make(plain[kinds[0]], **others)
    except TypeError as error:
        raise ParameterError(f"constraint: {error}") from error


def encode_chunk(chunk: Chunk) -> Plain:
    """Return a piece of an answer as plain values."""
    plain: Plain = {}
    if chunk.index:
        plain["index"] = chunk.index
    if chunk.text:
        plain["text"] = chunk.text
    if chunk.token_ids:
        plain["token_ids"] = list(chunk.token_ids)
    if chunk.logprobs:
        plain["logprobs"] = [_encode_logprob(entry) for entry in chunk.logprobs]
    if chunk.prompt_logprobs:
        plain["prompt_logprobs"] = [_encode_logprob(entry) for entry in chunk.prompt_logprobs]
    if chunk.finish is not None:
        plain["finish"] = {"reason": chunk.finish.reason, **_others(chunk.finish, "reason")}
    if chunk.usage is not None:
        plain["usage"] = _encode_usage(chunk.usage)
    return plain


def decode_chunk(plain: Any) -> Chunk:
    """Return the piece of an answer; `BackendError` when it is none."""
    try:
        return Chunk(
            index=plain.get("index", 0),
            text=plain.get("text", ""),
            token_ids=tuple(plain.get("token_ids", ())),
            logprobs=tuple(map(_decode_logprob, plain.get("logprobs", ()))),
            prompt_logprobs=tuple(map(_decode_logprob, plain.get("prompt_logprobs", ()))),
            finish=Finish(**plain["finish"]) if "finish" in plain else None,
            usage=Usage(**plain["usage"]) if "usage" in plain else None,
        )
    except (TypeError, ValueError, AttributeError, LookupError) as error:
        raise BackendError(f"the answer holds a piece that cannot be read: {error}") from error


def encode_score(score: ChoiceScore) -> Plain:
    """Return the score of one choice as plain values."""
    plain: Plain = {
        "choice": score.choice,
        "token_ids": list(score.token_ids),
        "logprobs": list(score.logprobs),
        "usage": _encode_usage(score.usage),
    }
    if score.unconditional:
        plain["unconditional"] = list(score.unconditional)
    return plain


def decode_score(plain: Any) -> ChoiceScore:
    """Return the score of one choice; `BackendError` when it is none."""
    try:
        return ChoiceScore(
            plain["choice"],
            tuple(plain["token_ids"]),
            tuple(plain["logprobs"]),
            tuple(plain.get("unconditional", ())),
            Usage(**plain.get("usage", {})),
        )
    except (TypeError, AttributeError, LookupError) as error:
        raise BackendError(f"the answer holds a score that cannot be read: {error}") from error


def encode_error(error: RamifyError) -> Plain:
    """Return an error by the name of its type, with its message and what else it carries."""
    plain: Plain = {"type": type(error).__name__, "message": str(error)}
    if isinstance(error, RequestError | GenError) and error.partial:
        plain["partial"] = error.partial
    if isinstance(error, GenError):
        plain |= {"node": error.node, "location": error.location}
    if isinstance(error, ScriptError):
        plain["diagnostics"] = error.to_json()
    return plain


def decode_error(plain: Any) -> RamifyError:
    """Return the error, of the type it had; a type that is not known here becomes `BackendError`."""
    if not isinstance(plain, Mapping) or not isinstance(plain.get("message"), str):
        return BackendError(f"the backend failed in a way that cannot be read: {plain!r}")
    kind = getattr(errors, str(plain.get("type")), None)
    if not (isinstance(kind, type) and issubclass(kind, RamifyError)):
        return BackendError(plain["message"])
    known = {RequestError: ("partial",), GenError: ("partial", "node", "location")}
    extras = next((names for base, names in known.items() if issubclass(kind, base)), ())
    return kind(plain["message"], **{name: plain[name] for name in extras if name in plain})


def encode_capabilities(capabilities: Capabilities) -> Plain:
    """Return what a backend can do as plain values."""
    template = capabilities.chat_template
    return {
        "model": capabilities.model,
        "chat_template": None
        if template is None
        else {"source": template.source, "special_tokens": dict(template.special_tokens)},
        "constraints": sorted(capabilities.constraints),
        "logprobs": capabilities.logprobs,
        "scoring": capabilities.scoring,
        "graphs": capabilities.graphs,
        "context_len": capabilities.context_len,
    }


def decode_capabilities(plain: Any) -> Capabilities:
    """Return what a backend can do; `BackendError` when it does not say so readably."""
    try:
        template = plain["chat_template"]
        return Capabilities(
            model=plain["model"],
            chat_template=None
            if template is None
            else ChatTemplate(source=template["source"], special_tokens=tuple(template["special_tokens"].items())),
            constraints=frozenset(plain["constraints"]),
            logprobs=plain["logprobs"],
            scoring=plain["scoring"],
            graphs=plain["graphs"],
            context_len=plain["context_len"],
        )
    except (TypeError, LookupError, AttributeError) as error:
        raise BackendError(f"the backend's capabilities cannot be read: {error!r}") from error


def _encode_piece(piece: Piece) -> str | Plain:
    match piece:
        case Text(text):
            return text
        case Markup(text):
            return {"markup": text}
        case Tokens(ids, text):
            return {"ids": list(ids), "text": text}


def _decode_prompt(plain: Any) -> tuple[Piece, ...]:
    if isinstance(plain, str):
        return (Text(plain),)
    if not isinstance(plain, list):
        raise ParameterError(f"prompt must be text or a list of pieces, got {type(plain).__name__}")
    return tuple(_decode_piece(piece, place) for place, piece in enumerate(plain))


def _decode_piece(plain: Any, place: int) -> Piece:
    match plain:
        case str():
            return Text(plain)
        case {"markup": str(text), **rest} if not rest:
            return Markup(text)
        case {"ids": list(ids), "text": str(text), **rest} if not rest and all(type(item) is int for item in ids):
            return Tokens(tuple(ids), text)
        case {"ids": list(ids), **rest} if not rest and all(type(item) is int for item in ids):
            return Tokens(tuple(ids), "")
    raise ParameterError(
        f"prompt[{place}] is neither text, {{'markup': text}} nor {{'ids': [...], 'text': text}}: {plain!r}"
    )


_HINT_TYPES: dict[str, tuple[type, ...]] = {
    "program": (str, NoneType),
    "group": (str, NoneType),
    "keep_prefix": (bool,),
    "priority": (int,),
    "timeout": (int, float, NoneType),
    "cache_salt": (str,),
    "place": (str, NoneType),
}


def _decode_hints(plain: Any) -> Hints:
    given = _record(plain, "hints", Hints)
    for name, value in given.items():
        if type(value) not in _HINT_TYPES[name]:  # not isinstance: True is no priority
            raise ParameterError(f"hints.{name} has a value of type {type(value).__name__}: {value!r}")
    return Hints(**given)


def _encode_logprob(entry: TokenLogprob) -> list[Any]:
    return [entry.token_id, entry.logprob, entry.text, [list(pair) for pair in entry.top]]


def _decode_logprob(plain: Any) -> TokenLogprob:
    token_id, logprob, text, top = plain
    return TokenLogprob(token_id, logprob, text, tuple((other, value) for other, value in top))


def _encode_usage(usage: Usage) -> Plain:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "cached_tokens": usage.cached_tokens,
        "completion_tokens": usage.completion_tokens,
    }


def _encode_fields(fact: Any) -> Plain:
    """The fields of a flat fact that differ from their defaults."""
    return {
        item.name: value
        for item in fields(fact)
        if (value := getattr(fact, item.name)) != (item.default if item.default is not MISSING else None)
    }


def _others(fact: Any, *names: str) -> Plain:
    return {name: value for name, value in _encode_fields(fact).items() if name not in names}


def _record(plain: Any, what: str, kind: type) -> Plain:
    """A copy of an object whose keys are all fields of `kind`."""
    if not isinstance(plain, dict):
        raise ParameterError(f"{what} must be an object, got {type(plain).__name__}")
    known = [item.name for item in fields(kind)]
    for name in plain:
        if name not in known:
            raise ParameterError(f"{what} has no field {name!r}{did_you_mean(str(name), known)}")
    for name, wanted in (("id", str), ("stream", bool), ("unconditional", bool)):
        if name in plain and not isinstance(plain[name], wanted):
            raise ParameterError(f"{name} must be of type {wanted.__name__}, got {plain[name]!r}")
    return dict(plain)


def _optional(plain: Any, decode: Callable[[Any], T]) -> T | None:
    return None if plain is None else decode(plain)
