"""Expressions of strangers: the answer of Python's own engine, in a time that is bounded."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import assume, example, given, settings, strategies as st

from weighbridge.domain.peft import expressions
from weighbridge.domain.peft.expressions import Effort, Unfollowed, expression
from weighbridge.domain.peft.selection import NotPeft, pair_rank, peft_selects

_ATOMS = st.sampled_from(["a", "b", r"\.", ".", "[ab]", "[^a]", r"\d", r"\w", r"\b", "^", "$", ""])
_PATTERNS = st.recursive(
    _ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=3).map("".join),
        st.lists(inner, min_size=1, max_size=3).map(lambda each: f"(?:{'|'.join(each)})"),
        st.tuples(inner, st.sampled_from(["*", "+?", "?", "{2}", "{0,2}", "{1,}"])).map(
            lambda pair: f"(?:{pair[0]}){pair[1]}"
        ),
        st.tuples(st.sampled_from(["?=", "?!"]), inner).map(lambda pair: f"({pair[0]}{pair[1]})"),
    ),
    max_leaves=6,
)


@settings(deadline=None)
@given(_PATTERNS, st.text("ab.1\n", max_size=8), st.integers(0, 3))
@example("(?<=a)b|(?<!b)a", "ab", 1)
@example(r"(?!.*vision).*\.(?:q|v)_proj", "text.q_proj", 0)
def test_the_answer_is_that_of_re(pattern: str, text: str, start: int) -> None:
    try:
        expected = re.compile(pattern).fullmatch(text, start) is not None
    except re.error:
        assume(False)
    assume(start <= len(text))
    program = expressions._program(pattern)
    assert expressions._run(program, text, [start], Effort(10**6), len(text)) is expected
    assert expression(pattern).matches(text, [start], Effort(10**6)) is expected


_Q = "model.language_model.layers.17.self_attn.q_proj"
#: As people, PEFT and Unsloth write them.
SOUND = {
    r".*\.q_proj": True,
    r"^model\.layers\.(0|1)\.mlp": False,
    r"model\.language_model\.layers\.1\d\.self_attn\.(q|k)_proj": True,
    r"^(?!.*(?:vision_tower|visual)).*(?:q_proj|k_proj|v_proj|o_proj)$": True,
    r"(?:.*?(?:vision|image|visual|patch|language|text).*?(?:self_attn|attention|attn|mlp|feed_forward"
    r"|ffn|dense).*?(?:q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj|correct|merger))"
    r"|(?:\bmodel\.layers\.[\d]{1,}\.(?:self_attn|attention|attn|mlp|feed_forward|ffn|dense)\."
    r"(?:(?:q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)))": True,
    r"(?:\w+\.)*q_proj": True,
    r"(?i).*\.Q_PROJ": True,
}


@pytest.mark.parametrize("pattern", SOUND)
def test_sound_expressions_are_followed(pattern: str) -> None:
    assert peft_selects(_Q, {"target_modules": pattern}) is SOUND[pattern]
    ranked = pair_rank(_Q, {"r": 4, "rank_pattern": {pattern: 8}})
    assert ranked == (8 if re.match(rf"(.*\.)?((?:{pattern.replace('(?i)', '')}))$", _Q)
                      or "(?i)" in pattern else 4)  # fmt: skip


HOSTILE = [
    "(a+)+b", "(a|a)*b", "a?" * 40 + "a" * 40, ".*.*.*.*.*.*.*x", "((((){99}){99}){99}){99}b",
    "(a{1,99}){1,99}b", "(" * 5000, "a{9999999999999999999}", "(a*)*" * 30 + "b", "(?i)(a+)+b",
    r"(a+)\1+b", "x" * 200_000, "[^x]*" * 40 + "x", "(?=(a+)+b)a", "*",
]  # fmt: skip


@pytest.mark.parametrize("pattern", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_expressions_take_no_time(pattern: str) -> None:
    begun = time.process_time()
    for module in ("a" * 60, "a" * 60 + ".x.1.y", "a." * 60, "a" * 100_000):
        with suppress(NotPeft):
            peft_selects(module, {"target_modules": pattern})
        with suppress(NotPeft):
            layers = {"layers_to_transform": [1], "layers_pattern": pattern}
            peft_selects(module, {"target_modules": ["y", "a"], **layers})
        with suppress(NotPeft):
            pair_rank(module, {"r": 4, "rank_pattern": {pattern: 8}})
    assert time.process_time() - begun < 3


def test_the_first_of_many_names_counts_whatever_its_points_are() -> None:
    def rank(**patterns: Any) -> int:
        return pair_rank("model.layers.1.q_proj", {"r": 4, "rank_pattern": patterns["of"]})

    assert rank(of={"1.q_proj": 1, "q_proj": 2}) == 1
    assert rank(of={"q_proj": 2, "1.q_proj": 1}) == 2
    assert rank(of={"1.q.proj": 3, "q_proj": 2}) == 3  # a point is any character
    assert rank(of={r".*\.q_proj": 5, "q_proj": 2}) == 5
    assert rank(of={"q_proj": 2, r".*\.q_proj": 5}) == 2
    assert rank(of={"_proj": 2}) == 4
    many = {f"model.layers.{n}.q_proj": n for n in range(1, 20_000)}
    begun = time.process_time()
    for _ in range(200):
        assert rank(of=many) == 1
    assert time.process_time() - begun < 5


def test_what_cannot_be_followed_is_named() -> None:
    with pytest.raises(Unfollowed, match="takes too long"):
        expression("(a+)+b" * 20).matches("a" * 5000, [0], Effort())
