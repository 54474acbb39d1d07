"""Text made of values that are not known while tracing: f-strings, `str()`, sums, and what must be refused."""

from __future__ import annotations

import html
import json
import re
import urllib.parse

import pytest

import ramify
from ramify import FakeBackend, function, gen, select
from ramify.lang.ir import Apply, Argument, Fill, Gen, Reference, Select, Set


def ops(graph, kind):
    return [node.op for node in graph.nodes if isinstance(node.op, kind)]


def same(program, *args, **kwargs):
    """The compiled program's result, after a check that it equals the live one's."""
    live, compiled = FakeBackend(), FakeBackend()
    expected = program.run(*args, **kwargs, backend=live)
    graph = program.compile()
    found = graph.run(**dict(zip((item.name for item in graph.inputs), args, strict=False)), **kwargs, backend=compiled)
    assert found.text() == expected.text() and found.value == expected.value and dict(found) == dict(expected)
    assert sorted(compiled.prompts) == sorted(live.prompts)
    return found


def test_f_strings_of_all_kinds():
    @function
    def program(s, topic, number):
        s += f"{topic}" + f"[{topic:>8}|{topic!r}|{topic!s:<9}]" + "{} and {:.2f}".format(topic, number)  # noqa: UP032
        s += "%s" % topic + str(number) + f"{f'{topic}'}" + gen("a", max_tokens=5)  # noqa: UP031
        with s.var_scope("all"):
            s += f"({s['a']!s:>7})" + select("b", [f"{topic}!", "x" + str(number)])
        s.set("c", f"{s['a']}{number:05.1f}")
        s.set("d", [topic, {"k": s["b"]}, (f"{topic}.", 3)])
        s += ramify.user(f"Q: {s['b']}\n") + f"{{{number}}}"
        return f"{s['c']}:{topic}", {"d": s["d"], "e": number}

    result = same(program, "cats", 3.14159)
    assert "[    cats|'cats'|cats     ]cats and 3.14cats3.14159cats" in result.text()


def test_sums_are_what_python_makes_of_them():
    @function
    def program(s, word, number):
        s += word + ", " + word
        s.set("text", word + "-" + word)
        s.set("sum", number + number)
        s += gen("a", max_tokens=3)
        s.set("more", s["a"] + word)
        return s["text"], s["sum"]

    same(program, "cat", 21)


def test_gathered_values_can_be_looped_over():
    @function
    def program(s):
        s += "x" + gen("n", n=3, max_tokens=2)
        s.keep("n", 2)
        branches = s.fork(2)
        branches += gen("tip", max_tokens=3)
        branches.join()
        for number, tip in enumerate(s["tip"]):
            s += f"{number}. {tip}\n"
        first, second = s["tip"]
        s += f"{len(s['tip'])}" + first + second + "".join(str(n) for n in s["n"][1:]) + s["tip"][-1]
        s.set("k", 5)
        if s["k"] > 3:  # known: it was set to a constant
            s += "yes"
        return s["tip"], bool(s["n"])

    same(program)
    with pytest.raises(IndexError, match="has 2 items, there is no item 2"):

        @function
        def beyond(s):
            s += "x"
            s.fork(2).__iadd__(gen("a")).join()
            s += s["a"][2]

        beyond.trace()


def test_what_is_recorded():
    @function
    def program(s, topic):
        s += f"a{topic}b{topic:>3}c" + gen("x")
        s += select("y", [f"{topic}", f"{s['x']}!"])
        s.set("z", f"{s['x']}")

    graph = program.compile()
    plain = Apply("format", (Argument("topic"), ""))
    assert [op.value for op in ops(graph, Fill)] == [
        *("a", plain, "b"),
        *(Apply("format", (Argument("topic"), ">3")), "c"),
    ]
    read = Apply("format", (Reference(5, "x"), ""))
    assert ops(graph, Select)[0].choices == (plain, Apply("concat", (read, "!")))
    assert ops(graph, Set)[0].value == read and len(ops(graph, Gen)) == 1


CHANGED = {
    "upper": lambda v: f"{v}".upper(),
    "upper of more": lambda v: f"a {v} b".upper(),
    "lower": lambda v: f"a {v}".lower(),
    "strip": lambda v: f"{v}".strip(),
    "strip of more": lambda v: f" {v}".strip(),
    "split": lambda v: f"a {v}".split()[1],
    "a slice": lambda v: f"{v} and so on"[3:],
    "comparison": lambda v: "yes" if f"{v}" == "cats" else "no",
    "comparison of more": lambda v: "yes" if f"a{v}" == "acats" else "no",
    "length": lambda v: str(len(f"{v}")),
    "length of more": lambda v: str(len(f"a{v}")),
    "truth": lambda v: "yes" if f"{v}" else "no",
    "in": lambda v: "yes" if "a" in f"{v}" else "no",
    "a key": lambda v: {f"{v}": "x"}[f"{v}"],
    "ascii": lambda v: f"{v!a}",
    "a loop": lambda v: "".join(c for c in f"{v}"),
    "precision of text": lambda v: f"{f'a{v}':.3}",
}


@pytest.mark.parametrize("what", CHANGED)
def test_text_that_was_looked_at_or_changed_is_refused_with_the_line(what):
    @function
    def program(s, topic):
        s += "x" + CHANGED[what](topic) + gen("a")

    with pytest.raises(ramify.TraceError, match=r"test_traced_text\.py:\d+.*run the program instead of tracing it"):
        program.compile()
    program.run("cats", backend=FakeBackend())


@pytest.mark.parametrize(
    "use",
    [
        lambda s, v: s.__iadd__(gen(f"name {v}")),
        lambda s, v: s.__iadd__(gen("a", stop=f"{v}.")),
        lambda s, v: s.__iadd__(gen("a", regex=f"a{v}")),
        lambda s, v: s.__iadd__(gen("a", max_tokens=v)),
        lambda s, v: s.__iadd__(gen("a", choices=v)),
        lambda s, v: s.__iadd__(gen(v)),
        lambda s, v: s.set(f"{v}!", 1),
    ],
)
def test_names_and_parameters_have_to_be_known(use):
    @function
    def program(s, topic):
        s += "x"
        use(s, topic)

    with pytest.raises(ramify.TraceError, match="not known while tracing"):
        program.compile()


def test_what_a_value_is_needed_for_says_what_to_do():
    def refused(use, **known):
        @function
        def program(s, topic):
            s += "x" + gen("a")
            use(s, topic)

        with pytest.raises(ramify.TraceError) as caught:
            program.compile(**known)
        return str(caught.value)

    assert "give topic=... when tracing" in refused(lambda s, v: v.upper())
    assert "@if" in refused(lambda s, v: "a" if s["a"] == "b" else "c")
    assert "@for" in refused(lambda s, v: list(s["a"]))
    assert "a number" in refused(lambda s, v: [1, 2, 3][v])
    assert "arithmetic" in refused(lambda s, v: s["a"] * 2)
    assert "attribute .name" in refused(lambda s, v: v.name)
    assert "a list" not in refused(lambda s, v: s.set("k", {v: 1}))


def test_text_of_another_trace_is_refused():
    kept = []
    function(lambda s, v: kept.append(f"{v} ") or s.__iadd__(kept[0])).compile()
    with pytest.raises(ramify.TraceError, match="was changed"):
        function(lambda s, v: s.__iadd__(f"{v}" + kept[0])).compile()


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(",", ";"),
        lambda text: text.replace("e", ""),
        lambda text: text.split("-")[0],
        lambda text: re.sub("[0-9]", "#", text),
        lambda text: re.sub("[A-Za-z]", "*", text),
        html.escape,
        urllib.parse.quote,
    ],
)
def test_what_might_change_the_value_is_refused(change):
    """Whether it would is only known in a run, so it must not depend on what stands for the value here."""

    @function
    def program(s, topic):
        s += change(f"{topic}, and more")

    with pytest.raises(ramify.TraceError, match=r"test_traced_text\.py:[0-9]+"):
        program.compile()


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda s, x: json.dumps({"topic": x}), "not JSON serializable"),
        (lambda s, x: ", ".join([x, "more"]), "expected str instance"),
        (lambda s, x: s.fork(x), r"fork needs a number of branches from 1 to 256, got \.\.\.;"),
        (lambda s, x: gen(choices=[x, "a"]), r"choices must be strings, got \.\.\. of type Ref"),
        (lambda s, x: gen(regex=f"[a-z]|{x}"), "is not a valid pattern"),
    ],
)
def test_misuse_of_a_value_is_told_as_such(use, message):
    @function
    def program(s, topic):
        s += "a" + (use(s, topic) or "")

    with pytest.raises(ramify.TraceError, match=message) as caught:
        program.compile()
    assert "test_traced_text.py:" in str(caught.value) and "\ufdd0" not in str(caught.value)


def test_errors_of_the_body_stay_what_they_are():
    @function
    def program(s, topic):
        s += "a" + 1

    with pytest.raises(TypeError, match="can only concatenate str"):
        program.compile()


def test_data_with_the_marks_own_characters_is_data():
    data = "\ufdd0abcXYZ 0\ufdd1 \u2003 \ufdd0\ufdd1"

    @function
    def program(s, topic):
        s += f"{data}{topic}" + gen("a", max_tokens=3)

    same(program, data)


def test_a_value_is_set_not_an_expression():
    with pytest.raises(ramify.ParameterError, match="takes a value"):
        function(lambda s: s.set("k", gen("a"))).run(backend=FakeBackend())
    with pytest.raises(ramify.ParameterError, match="takes a value"):
        function(lambda s: s.set("k", "a" + gen("a"))).run(backend=FakeBackend())
    with pytest.raises(ramify.TraceError, match="cannot be recorded"):
        function(lambda s: s.set("k", "a" + gen("a"))).compile()


def test_a_role_that_a_branch_leaves_open_is_reported():
    @function
    def program(s):
        s += "x"
        for branch in s.fork(2):
            branch += ramify.assistant_begin() + gen("a")

    for run in (program.compile, lambda: program.run(backend=FakeBackend())):
        with pytest.raises(ramify.RoleError, match=r"'assistant' \(.*test_traced_text.py:\d+\) is still open"):
            run()


def test_a_graph_does_not_keep_what_it_was_given_to_itself():
    rows = [{"k": 1}]
    graph = function(lambda s, x: s.set("v", x)).compile()
    result = graph.run(x=rows, backend=FakeBackend())
    assert result["v"] == [{"k": 1}] and rows == [{"k": 1}]
    with pytest.raises(ramify.ParameterError, match="no parameter 'y'"):
        graph.run(y=1, backend=FakeBackend())
    with pytest.raises(ramify.ParameterError, match="missing a required"):
        graph.run(backend=FakeBackend())
    with pytest.raises(ramify.ParameterError, match="no input 'y'"):
        graph.bind(y=1)
