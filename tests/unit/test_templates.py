"""What a template's syntax tree shows: ways out that attacks take, ways of chats, and bombs."""

from __future__ import annotations

import sys
import time
from collections import Counter
from typing import Any

import pytest

from tests.builders import encode, fused_files
from tests.unit.subjects import of
from weighbridge.adapters.jinja_templates import JinjaTemplateReader
from weighbridge.domain.rules import CATALOGUE
from weighbridge.domain.templates import MAX_SIGNS, MAX_TEMPLATE, MAX_TEMPLATES

#: What is asked of a whole template, and not of a part of one.
_OF_CHATS = {"CT012", "CT013", "CT014"}


def of_chats(text: str) -> set[str]:
    return {hazard.code for hazard in JinjaTemplateReader().hazards(text)} & _OF_CHATS


def codes(text: str) -> set[str]:
    return {hazard.code for hazard in JinjaTemplateReader().hazards(text)} - _OF_CHATS


@pytest.mark.parametrize(
    "text",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ x['__class__'] }}",
        "{{ x['\\x5f\\x5fclass\\x5f\\x5f'] }}",
        "{{ x['__cla' ~ 'ss__'] }}",
        "{{ x['__cla' + 'ss__'] }}",
        "{{ x[['_', '_', 'class', '_', '_'] | join] }}",
        "{{ x['__ssalc__' | reverse] }}",
        "{{ x['XXclassXX' | replace('X', '_')] }}",
        "{{ x['_' * 2 + 'class' + '_' * 2] }}",
        "{{ x | attr('f_globals') }}",
        "{{ x | attr(y) }}",
        "{{ xs | map('attr', y) | list }}",
        "{{ xs | map(attribute='__class__') | list }}",
        "{{ xs | map(attribute='a.__class__') | list }}",
        "{{ xs | selectattr('_private') | list }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ cycler }}",
        "{{ self._TemplateReference__context }}",
        "{{ lipsum() }}",
        "{% include 'other' %}",
        "{% import 'other' as o %}",
        "{% from 'other' import o %}",
        "{% extends 'other' %}",
        "{{ g.gi_frame.f_globals }}",
        "{% set a = '__glob' %}{% set b = 'als__' %}{{ x[a ~ b] }}{{ x.__init__ }}",
        "{% macro m() %}{{ x.mro }}{% endmacro %}",
        "{% if x.__class__ %}{% endif %}",
        "{% set y = '__import__' %}",
        "{% set a = '_' %}{{ x[a ~ a ~ 'class' ~ a ~ a] }}",
        "{{ x[parts | join] }}",
        "{{ x['%c%cclass' % (95, 95)] }}",
        "{{ x['{}'.format(y)] }}",
        "{% set y = ['__', 'class', '__'] | join %}{{ x[y] }}",
    ],
)
def test_ways_out_are_seen(text: str) -> None:
    assert "CT002" in codes(text)


@pytest.mark.parametrize(
    "text",
    [
        "{{ messages[-1].content }}{{ messages[loop.index0 - 1]['role'] }}",
        "{% set ns = namespace(first=true) %}{% set ns.first = false %}{{ bos_token }}",
        "{{ messages | selectattr('role', 'equalto', 'user') | list }}",
        "{{ tools | map(attribute='function.name') | join(', ') }}",
        "{%- for m in messages[::-1] %}{% continue %}{% endfor %}{{ raise_exception('x') }}",
        "{{ strftime_now('%d %b %Y') }}{{ tools | tojson(indent=4) }}",
        "{% macro render(config) %}{{ config.name }}{% endmacro %}{{ render(tool) }}",
        "{% macro r(s, n) %}{{ r(s.items, n + 1) }}{{ r(s.values, n + 1) }}{% endmacro %}",
        "{% generation %}{{ m.content }}{% endgeneration %}{{ '%02d' % n }}{{ '-' * 80 }}",
        "{% for i in range(messages | length - 1, -1, -1) %}{{ i }}{% endfor %}",
        "{{ 'a__b' }}{{ '____' }}{{ names[i + 1] }}{{ counts[n % 2] }}",
    ],
)
def test_ways_of_chats_are_not(text: str) -> None:
    assert codes(text) == set()


@pytest.mark.parametrize(
    "text",
    [
        "{% for i in range(100000) %}x{% endfor %}",
        "{% for i in range(10 ** 9) %}x{% endfor %}",
        "{% for i in range(0, 99999) | list %}x{% endfor %}",
        "{% for a in range(99) %}{% for b in range(99) %}{% for c in range(99) %}x"
        "{% endfor %}{% endfor %}{% endfor %}",
        "{{ 'a' * 2000000000 }}",
        "{{ 1000000000 * 'a' }}",
        "{{ [0] * 10 ** 9 }}",
        "{{ '%1000000000d' | format(1) }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '{:>1000000000}'.format(1) }}",
        "{{ 'x' | center(1000000000) }}",
        "{{ 'x'.ljust(1000000000) }}",
        "{{ 9 ** 9 ** 9 }}",
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}",
        "{% macro f(n) %}{% for i in 'ab' %}{{ f(n + 1) }}{% endfor %}{% endmacro %}{{ f(0) }}",
    ],
)
def test_endless_work_is_seen(text: str) -> None:
    assert codes(text) == {"CT005"}


@pytest.mark.parametrize(
    "text",
    [
        "{% for m in messages %}", "{{ x", "{{ 'a }}", "{% nothing %}", "{{ " + "9" * 5000 + " }}",
        "{% endfor %}", "{{ x | no_filter_of_that_name( }}",
    ],
)  # fmt: skip
def test_what_does_not_parse_is_a_finding(text: str) -> None:
    assert codes(text) == {"CT001"}


_N = MAX_TEMPLATE
BOMBS = {
    "parentheses": "{{" + "(" * (_N - 2),
    "lists": "{{" + "[" * (_N - 2),
    "negations": "{{" + "not " * (_N // 4 - 1),
    "blocks": "{% if x %}" * (_N // 10),
    "loops": "{% for x in y %}" * 300 + "{% endfor %}" * 300,
    "choices": "{{" + "a if b else " * (_N // 12 - 1) + "c}}",
    "sums": "{{x" + "+1" * (_N // 2 - 4) + "}}",
    "texts": "{{'a'" + "+'a'" * (_N // 4 - 4) + "}}",
    "joins": "{{x" + "~1" * (_N // 2 - 4) + "}}",
    "filters": "{{x" + "|e" * (_N // 2 - 4) + "}}",
    "attributes": "{{x" + "._a" * (_N // 3 - 4) + "}}",
    "powers": "{{2" + "**2" * (_N // 3 - 4) + "}}",
    "spaces": " " * (_N - 8) + "{%- x",
    "addresses": "http://" * (_N // 7),
    "escapes": '{{"' + "\\" * (_N - 8) + '"}}',
}


@pytest.mark.parametrize("name", sorted(BOMBS))
def test_a_bomb_ends_in_bounded_time_and_depth(name: str) -> None:
    assert len(BOMBS[name]) <= MAX_TEMPLATE
    limit, begun = sys.getrecursionlimit(), time.monotonic()
    list(JinjaTemplateReader().hazards(BOMBS[name]))
    assert time.monotonic() - begun < 60 and sys.getrecursionlimit() == limit


def test_all_templates_together_are_bounded() -> None:
    texts = [f"{{# {n} #}}" + "x" * (MAX_TEMPLATE - 20) for n in range(5)]
    files = {f"additional_chat_templates/t{n}.jinja": t.encode() for n, t in enumerate(texts)}
    subject = of(fused_files() | files)()
    found = Counter(h.code for t in subject.templates for h in t.hazards)
    assert len(subject.templates) == 5 and found["CT009"] == 5 - MAX_TEMPLATES // MAX_TEMPLATE


def test_the_words_of_all_templates_together_are_bounded() -> None:
    """A parser's time goes by them: 256 KB of nothing but signs occupied a processor for 9 s."""
    half = "{{ messages }}" + "{{ a }}" * (MAX_SIGNS // 5 // 2 - 1)
    texts = [half, half + "{# other #}", half + "{# one more #}", half]
    files = {f"additional_chat_templates/t{n}.jinja": t.encode() for n, t in enumerate(texts)}
    templates = of(fused_files() | files)().templates
    assert [[h.code for h in t.hazards] for t in templates] == [[], ["CT009"], ["CT009"], []]


def test_templates_are_found_in_every_place() -> None:
    subject = of(
        fused_files()
        | {
            "tokenizer_config.json": encode(
                {"chat_template": [{"name": "default", "template": "a"}, {"name": "tool_use",
                                                                         "template": "b"}]}
            ),
            "chat_template.json": encode({"chat_template": "c", "my_template": "g"}),
            "processor_config.json": encode({"chat_template": {"x": "d"}}),
            "chat_template.jinja": b"e",
            "additional_chat_templates/rag.jinja": b"f",
            "other.jinja": b"{{",
        }
    )()  # fmt: skip
    found = {(t.path, t.name): t.text for t in subject.templates}
    assert found == {
        ("tokenizer_config.json", "default"): "a",
        ("tokenizer_config.json", "tool_use"): "b",
        ("chat_template.json", "default"): "c",
        ("chat_template.json", "my_template"): "g",
        ("processor_config.json", "x"): "d",
        ("chat_template.jinja", "default"): "e",
        ("additional_chat_templates/rag.jinja", "rag"): "f",
        ("other.jinja", "other-jinja"): "{{",
    }


def test_a_template_that_is_no_text_is_a_finding() -> None:
    subject = of(fused_files() | {"chat_template.jinja": b"\xff\xfe"})()
    assert [h.code for t in subject.templates for h in t.hazards] == ["CT001"]


#: Ways in which published templates bring a message to its place.
_CHATS = {
    "variable": "{% for m in messages %}{% set c = m['content'] | trim %}{{ c }}{% endfor %}",
    "block": "{% for m in messages %}{% set c %}{{ m.content }}{% endset %}{{ c }}{% endfor %}",
    "namespace": "{% set ns = namespace(s='') %}{% for m in messages %}{% set ns.s = ns.s + "
    "m.content %}{% endfor %}{{ ns.s }}",
    "parts": "{% for m in messages %}{% for p in m.content %}{{ p.text }}{% endfor %}{% endfor %}",
    "the rest": "{% set rest = messages[1:] %}{% for m in rest %}{{ m.content }}{% endfor %}",
    "by number": "{% for i in range(messages | length) %}{{ messages[i].content }}{% endfor %}",
    "macro": "{% macro r(m) %}{{ m.content }}{% endmacro %}{% for x in messages %}{{ r(x) }}"
    "{% endfor %}",
    "macro by keyword": "{% macro r(m=none) %}{{ m['content'] }}{% endmacro %}"
    "{{ r(m=messages[0]) }}",
    "get": "{{ messages[0].get('content', '') }}",
    "items": "{% for m in messages %}{% for k, v in m.items() %}{{ v }}{% endfor %}{% endfor %}",
    "filters": "{{ messages | map(attribute='content') | join }}",
    "json": "{{ messages | tojson }}",
    "group": "{% for g in messages | groupby('role') %}{% for m in g.list %}{{ m.content }}"
    "{% endfor %}{% endfor %}",
    "list": "{% set o = [] %}{% for m in messages %}{% set _ = o.append(m.content) %}{% endfor %}"
    "{{ o | join }}",
    "call": "{% macro w() %}<{{ caller() }}>{% endmacro %}{% for m in messages %}{% call w() %}"
    "{{ m.content }}{% endcall %}{% endfor %}",
    "failing sometimes": "{% for m in messages %}{% if m.role == 'x' %}{{ raise_exception('x') }}"
    "{% else %}{{ m.content }}{% endif %}{% endfor %}",
    "answer without being asked": "{% for m in messages %}<|start|>{{ m.content }}<|end|>"
    "{% endfor %}<|start|>assistant",
    "no mark at the end of a turn": "{% for m in messages %}[INST] {{ m.content }}{% endfor %}",
}


@pytest.mark.parametrize("text", _CHATS.values(), ids=_CHATS)
def test_what_brings_messages_to_their_place(text: str) -> None:
    assert of_chats(text) == set()


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{% for m in messages %}{{ m.role }}{% endfor %}", "CT012"),
        ("{% for m in messages %}{% if m.content %}x{% endif %}{% endfor %}", "CT012"),
        ("{% for m in messages %}{{ m.contents }}{{ message.content }}{% endfor %}", "CT012"),
        ("{% for m in messages %}{% set content = m.role %}{{ content }}{% endfor %}", "CT012"),
        ("{{ messages | length }}{{ messages | map(attribute='role') | join }}", "CT012"),
        ("{{ messages[0].get('role') }}", "CT012"),
        ("{{ raise_exception('x') }}{{ messages[0].content }}", "CT013"),
        ("{% set x = raise_exception('x') %}{{ messages[0].content }}", "CT013"),
        ("{% for m in messages %}{{ raise_exception('x') }}{{ m.content }}{% endfor %}", "CT013"),
        ("{% if tools %}{{ raise_exception('a') }}{% else %}{{ raise_exception('b') }}{% endif %}"
         "{{ messages[0].content }}", "CT013"),
        *((f"{{% if {always} %}}{{{{ raise_exception('x') }}}}{{% endif %}}"
           "{{ messages[0].content }}", "CT013")
          for always in ("true", "1 == 1", "messages", "messages is defined or tools",
                         "not (false and tools)", "messages | length and 'a' != 'b'")),
        ("{% if tools %}{{ raise_exception('a') }}{% elif 1 %}{{ raise_exception('b') }}"
         "{% else %}x{% endif %}{{ messages[0].content }}", "CT013"),
        ("{{ raise_exception('x') if messages else '' }}{{ messages[0].content }}", "CT013"),
        ("{{ 'On ' ~ now() | trim }}{{ messages[0].content }}", "CT013"),
        ("{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}\n", "CT014"),
    ],
)  # fmt: skip
def test_what_is_no_chat(text: str, code: str) -> None:
    assert of_chats(text) == {code}


@pytest.mark.parametrize(
    "text",
    [
        "{% if not messages %}{{ raise_exception('x') }}{% endif %}",
        "{% if messages %}{% else %}{{ raise_exception('x') }}{% endif %}",
        "{% if messages is not defined or tools %}{{ raise_exception('x') }}{% endif %}",
        "{% if false %}{{ raise_exception('x') }}{% endif %}",
        "{{ raise_exception('x') if tools and messages }}",
        "{% set all = messages %}{% set messages = messages[1:] %}"
        "{% if messages %}{{ raise_exception('one turn only') }}{% endif %}{{ all[0].content }}",
    ],
)
def test_a_template_may_fail_for_a_reason(text: str) -> None:
    assert of_chats(text + "{{ messages[0].content }}") == set()


@pytest.mark.parametrize("around", ["{%% for a in b %%}%s{%% endfor %%}", "{%% macro a() %%}%s"
                                    "{%% endmacro %%}", "%s"])  # fmt: skip
@pytest.mark.parametrize("deep", ["a" + " + a" * 2_000, "a" + ".a" * 2_000,
                                  "a" + " | trim" * 2_000])  # fmt: skip
def test_depth_does_not_end_the_check(around: str, deep: str) -> None:
    codes(around % f"{{{{ {deep} }}}}{{% set b = {deep} %}}")


@pytest.mark.parametrize(
    "wrong",
    [[{"template": "a"}], [{"name": "default"}], ["a"], [None], [], {}, 5, {"default": None}],
)
def test_transformers_fails_on_what_are_no_templates(wrong: Any) -> None:
    subject = of(fused_files() | {"tokenizer_config.json": encode({"chat_template": wrong})})()
    check = next(rule.check for rule in CATALOGUE if rule.code == "JS008")
    assert [str(found.location) for found in check(subject)] == [
        "tokenizer_config.json: chat_template"
    ]
