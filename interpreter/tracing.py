"""Tracing a program: its body runs on a state whose sink only collects nodes. Used by `Program.trace`, `render`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..backend.api import ChatTemplate
from ..lang.errors import ProgramError, RamifyError
from ..lang.ir import Argument, Fill, Gen, Input, Reference, RoleBegin, RoleEnd, Select, Value
from ..lang.recorder import Recorder
from ..lang.tracer import GraphSink, Ref
from .background import background
from .chat import chat_format
from .conversation import Conversation
from .request_graph import RequestGraph
from .state import AsyncState, State

if TYPE_CHECKING:
    from .program import Program


def trace(program: Program, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> RequestGraph:
    """Record the body; open parameters become `Argument`s."""
    sink, inputs = GraphSink(), list[Input]()

    def stand_in(name: str) -> Ref:
        inputs.append(Input(name))
        return sink.stand_in(name)

    recorder = Recorder(sink, parameters=program.parameters)
    call = program.call_with_open_arguments(args, kwargs, stand_in)
    if program.is_async and background().is_current:
        raise ProgramError("trace() of an async program cannot be called inside one that runs on the background loop")
    try:
        returned = (
            background().call(_awaited(call(AsyncState(recorder)))) if program.is_async else call(State(recorder))
        )
    except (TypeError, RamifyError) as error:
        explained = sink.explained(error)
        if explained is None:
            raise
        raise explained from error
    recorder.close()
    graph = sink.graph(recorder.last, inputs, returned)
    return RequestGraph(graph.nodes, graph.end, graph.inputs, graph.result)


def render(graph: RequestGraph, template: ChatTemplate | None) -> str:
    """Return the text of the main branch with `{{name}}` for values that are not known."""
    conversation = Conversation(chat_format(template))
    for node in graph.path(graph.end):
        match node.op:
            case Fill(value):
                conversation.write(_shown(value))
            case RoleBegin(role):
                conversation.begin(role)
            case RoleEnd():
                conversation.end()
            case Gen(name) | Select(name):
                conversation.send()
                conversation.write(f"{{{{{name or '_'}}}}}")
            case _:
                pass  # the other operations leave no text
    return conversation.text()


async def _awaited(awaitable: Any) -> Any:
    assert inspect.isawaitable(awaitable)
    return await awaitable


def _shown(value: Value) -> str:
    match value:
        case str():
            return value
        case Reference(_, name, path) | Argument(name, path):
            return f"{{{{{name}{''.join(f'[{key!r}]' for key in path)}}}}}"
        case _:
            return f"{{{{{value!r}}}}}"
