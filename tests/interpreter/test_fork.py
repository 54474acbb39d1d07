"""Forks, nested forks, copies and joins: independent branches that share what stands before them."""

from __future__ import annotations

import pytest

import ramify
from ramify import FakeBackend, function, gen
from ramify.backend.api import prompt_text


def test_branches_are_independent_and_run_side_by_side():
    backend = FakeBackend({f"{i}:$": f"tip {i}" for i in range(3)}, delay=0.05)

    @function
    def program(s):
        s += "Tips\n"
        tips = s.fork(3)
        for i, tip in enumerate(tips):
            tip += f"{i}:" + gen("tip")
        assert len(tips) == 3 and tips[-1]["tip"] == "tip 2" and [b["tip"] for b in tips[:2]] == ["tip 0", "tip 1"]
        s += tips[1]["tip"]
        return tips["tip"], [tip.text() for tip in tips]

    result = program.run(backend=backend)
    assert result.value == (("tip 0", "tip 1", "tip 2"), [f"Tips\n{i}:tip {i}" for i in range(3)])
    assert result.text() == "Tips\ntip 1" and dict(result) == {}
    assert backend.max_in_flight == 3


def test_siblings_share_a_group_and_one_program():
    backend = FakeBackend()

    @function
    def program(s):
        s += "a" + gen("x")
        for branch in s.fork(2):
            branch += "b" + gen("y")
            for leaf in branch.fork(2):
                leaf += "c" + gen("z")

    program.run(backend=backend)
    hints = [request.hints for request in backend.requests]
    assert len({hint.program for hint in hints}) == 1 and hints[0].group is None
    groups = [hint.group for hint in hints]
    assert sorted(groups.count(group) for group in set(groups) - {None}) == [2, 2, 2]


def test_a_prompt_that_will_be_extended_is_marked():
    backend = FakeBackend(delay=0.05)

    @function
    def program(s):
        s += "a" + gen("w") + gen("x")  # the fork below is known before x is asked for
        for branch in s.fork(2):
            branch += "b" + gen("y")

    program.run(backend=backend)
    assert [request.hints.keep_prefix for request in backend.requests[1:]] == [True, False, False]


def test_nested_forks():
    @function
    def tree(s, depth):
        if depth == 0:
            s += gen("leaf")
            return [s["leaf"]]
        return [leaf for branch in s.fork(2) for leaf in grow(branch, depth - 1)]

    def grow(branch, depth):
        branch += f"/{depth}"
        return tree(branch, depth)

    backend = FakeBackend(lambda request: prompt_text(request.prompt).upper())
    assert tree.run(3, backend=backend).value == ["/2/1/0"] * 8


def test_a_fork_sees_what_was_appended_before_and_not_after():
    @function
    def program(s):
        s += "before" + gen("x")
        branch = s.copy()
        s += "after"
        branch += "branch"
        return branch.text(), s.text(), branch["x"]

    assert program.run(backend=FakeBackend(["X"])).value == ("beforeXbranch", "beforeXafter", "X")


def test_join_gathers_in_order():
    @function
    def program(s):
        s += "q" + gen("x")
        branches = s.fork(3)
        branches += "common "
        for i, branch in enumerate(branches):
            branch += gen("y")
            if i == 1:
                branch.set("extra", "e")
        s.join(branches)
        s += "|" + s["y"][2]
        return s["extra"]

    result = program.run(backend=FakeBackend({"common $": "Y", "q$": "X"}))
    assert result.value == (None, "e", None)
    assert result["y"] == ("Y", "Y", "Y") and result.text() == "qX|Y"
    assert [meta.text for meta in result.meta("y").samples] == ["Y", "Y", "Y"]


def test_join_takes_the_order_it_is_given_and_need_not_wait():
    @function
    def program(s):
        branches = s.fork(2)
        for i, branch in enumerate(branches):
            branch += f"{i}" + gen("y")
        s.join(branches[::-1])

    assert program.run(backend=FakeBackend({"0$": "a", "1$": "b"}))["y"] == ("b", "a")


def test_branches_join_themselves():
    @function
    def program(s):
        branches = s.fork(2)
        branches += "x" + gen("y")
        branches.join()

    assert program.run(backend=FakeBackend({"x$": "a"}))["y"] == ("a", "a")


def test_join_twice_or_over_a_name_of_the_parent_is_an_error():
    @function
    def program(s):
        branches = s.fork(2)
        branches += "x" + gen("y")
        branches.join()
        branches.join()

    with pytest.raises(ramify.VariableError, match="defined twice"):
        program.run(backend=FakeBackend())
    with pytest.raises(ramify.ParameterError, match="states of a fork"):
        function(lambda s: s.join([])).run(backend=FakeBackend())


def test_a_bad_number_of_branches_is_an_error():
    for num in (0, -1, 1.5, True, 257):
        with pytest.raises(ramify.ParameterError, match="from 1 to 256"):
            function(lambda s, num=num: s.fork(num)).run(backend=FakeBackend())


def test_a_fork_before_any_text_works():
    @function
    def program(s):
        branches = s.fork(2)
        branches += "x" + gen("y")
        return branches["y"]

    assert program.run(backend=FakeBackend({"x$": "1"})).value == ("1", "1")


def test_requests_of_an_unread_branch_are_finished_too():
    backend = FakeBackend(delay=0.02)

    @function
    def program(s):
        s += "x"
        s.fork(1)[0].__iadd__("y").__iadd__(gen("z"))

    program.run(backend=backend)
    assert len(backend.requests) == 1 and backend.aborted == []


def test_many_branches_need_no_threads():
    import threading

    backend = FakeBackend(delay=0.5)

    @function
    def program(s):
        s += "x"
        branches = s.fork(64)
        branches += gen("y")
        return branches["y"], threading.active_count()

    before = threading.active_count()
    assert program.run(backend=backend).value[1] <= before + 1
    assert backend.max_in_flight == 64


def test_a_branch_is_appended_to_by_its_index_too():
    @function
    def program(s):
        s += "x"
        branches = s.fork(2)
        for i in range(2):
            branches[i] += str(i) + gen("v")
        with pytest.raises(ramify.ProgramError, match="cannot be replaced"):
            branches[0] = branches[1]
        return branches["v"]

    assert program.run(backend=FakeBackend({"x0": "a", "x1": "b"})).value == ("a", "b")


def test_forks_three_deep_keep_their_own_text_and_join_level_by_level():
    @function
    def program(s):
        s += "r"
        for i, one in enumerate(outer := s.fork(2)):
            one += str(i)
            for j, two in enumerate(middle := one.fork(2)):
                two += str(j)
                for k, three in enumerate(inner := two.fork(2)):
                    three += str(k) + gen("leaf")
                inner.join()
                two.set("path", two.text())
            middle.join()
        outer.join()
        return s["leaf"], s["path"]

    backend = FakeBackend(lambda request: prompt_text(request.prompt))
    leaves, paths = program.run(backend=backend).value
    assert leaves == tuple(
        tuple(tuple(f"r{i}{j}{k}" for k in range(2)) for j in range(2)) for i in range(2)
    )  # fmt: skip
    assert paths == (("r00", "r01"), ("r10", "r11"))


def test_a_copy_inside_a_scope_goes_on_alone():
    @function
    def program(s):
        with s.var_scope("scope"):
            s += "a" + gen("v")
            twin = s.copy()
            twin += "twin" + gen("w")
            s += "z"
        return s["scope"], twin.text(), twin["v"], twin["w"]

    assert program.run(backend=FakeBackend(["V", "W"])).value == ("aVz", "aVtwinW", "V", "W")


def test_join_takes_branches_of_its_own_run_only():
    kept = []

    @function
    def other(s):
        s += "x" + gen("w")
        kept.append(s)

    @function
    def program(s, branches):
        s += "x"
        s.join(branches(s))

    other.run(backend=FakeBackend())
    for branches in (lambda s: kept, lambda s: [s], lambda s: [*s.fork(2), s]):
        with pytest.raises(ramify.ParameterError, match=r"join \(.*test_fork.* branches of a fork in the same run"):
            program.run(branches, backend=FakeBackend())
    for branches in ([], "x", [1]):
        with pytest.raises(ramify.ParameterError, match="join needs the states of a fork"):
            program.run(lambda s, given=branches: given, backend=FakeBackend())
