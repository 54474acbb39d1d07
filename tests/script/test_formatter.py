"""The formatter gives one spelling, changes no meaning, and keeps text and comments."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ramify
from ramify.lang.script import compile_text, format_script

UGLY = """


@#a remark
@program   p( xs:list[ str ],n : int=3 ,)->{a : str , b:int ?}
@type T="x"|"y"


@user

   Hello   {{ xs [ 0 ] }}  and   {{( n+1 )+ 2}}

@if not(n==1)and(xs or(n>2 and true))
some text
      deeper
@#why
@else
@fork  i in  range( n ) max 3  as r
{{i}}
@end
@end


@assistant


{{gen a:(str),max = 3 ,stop=[ "\\n" , "é\\u00e9" ],}} {{gen b : {n:int}|"q/w" | /a\\/b/}}
@return  [a , (b)]
"""

TIDY = """@# a remark
@program p(xs: list[str], n: int = 3) -> {a: str, b: int?}
@type T = "x" | "y"

@user
   Hello   {{xs[0]}}  and   {{(n + 1) + 2}}

@if not n == 1 and (xs or n > 2 and true)
  some text
        deeper
  @# why
@else
  @fork i in range(n) max 3 as r
    {{i}}
  @end
@end

@assistant
{{gen a: str, max=3, stop=["\\n", "éé"]}} {{gen b: {n: int} | "q/w" | /a\\/b/}}
@return [a, b]
"""


def test_one_spelling() -> None:
    assert format_script(UGLY) == TIDY
    assert format_script(TIDY) == TIDY


def test_valid_scripts_keep_their_meaning(valid_script: str) -> None:
    formatted = format_script(valid_script)
    assert format_script(formatted) == formatted
    assert compile_text(formatted).graph() == compile_text(valid_script).graph()
    remarks = re.compile(r"^\s*@#\s*(.*?)\s*$", re.MULTILINE)
    assert remarks.findall(formatted) == remarks.findall(valid_script)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10**9))
def test_invented_scripts_keep_their_meaning(invented, seed) -> None:
    text, _ = invented(random.Random(seed))
    formatted = format_script(text)
    assert format_script(formatted) == formatted
    assert compile_text(formatted).graph() == compile_text(text).graph(), text


def test_a_script_that_cannot_be_read_is_left_alone() -> None:
    with pytest.raises(ramify.ScriptError):
        format_script("@program p()\n{{gen }}\n")


def test_names_and_types_need_not_be_right() -> None:
    assert format_script("@program p()\n{{ nam }}\n") == "@program p()\n{{nam}}\n"


def test_white_space_of_the_text_is_kept() -> None:
    text = "@program p()\nA  b \t{{1}}  \n    indented\n\n\nend\n"
    assert format_script(text) == text
