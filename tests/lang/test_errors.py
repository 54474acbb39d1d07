"""The error tree: kin of Python's own errors, with their facts, also after a trip through pickle."""

from __future__ import annotations

import inspect
import pickle

import pytest

from ramify.lang import errors
from ramify.lang.errors import RamifyError, did_you_mean

TYPES = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, RamifyError)]


def test_the_tree_in_the_docstring_is_the_tree():
    parents: list[tuple[int, str]] = []
    drawn = {}
    for line in inspect.getdoc(errors).splitlines()[2:]:
        depth = len(line) - len(line.lstrip("│├└─ "))
        name = line.lstrip("│├└─ ").split()[0]
        parents = [parent for parent in parents if parent[0] < depth]
        drawn[name] = parents[-1][1] if parents else "Exception"
        parents.append((depth, name))
    assert drawn == {kind.__name__: kind.__bases__[0].__name__ for kind in TYPES}


@pytest.mark.parametrize(
    ("kind", "native"),
    [
        (errors.ParameterError, ValueError),
        (errors.ConstraintError, ValueError),
        (errors.PromptError, ValueError),
        (errors.ParseError, ValueError),
        (errors.DeadlineError, TimeoutError),
        (errors.VariableError, KeyError),
    ],
)
def test_kin_of_pythons_errors(kind, native):
    assert issubclass(kind, native)


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.__name__)
def test_the_message_is_shown_plainly_and_survives_pickle(kind):
    again = pickle.loads(pickle.dumps(kind("what happened, and 'what' to do")))
    assert type(again) is kind
    assert str(again) == "what happened, and 'what' to do"


def test_facts_are_attributes():
    error = errors.GenError("m", node="x", location="f.py:3", partial="so far")
    assert (error.node, error.location, error.partial) == ("x", "f.py:3", "so far")
    for kind in (errors.RequestError, errors.DeadlineError, errors.ParseError):
        again = pickle.loads(pickle.dumps(kind("m", partial="so far")))
        assert (again.partial, kind("m").partial) == ("so far", "")


def test_did_you_mean():
    assert did_you_mean("temprature", ["temperature", "top_p"]) == " (did you mean 'temperature'?)"
    assert did_you_mean("xyz", ["temperature"]) == ""
    assert did_you_mean("x", []) == ""
