"""A template's syntax tree, from jinja2 set up as transformers sets it up for chat templates."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser

from weighbridge.adapters.jinja_templates.failing import failing_hazards
from weighbridge.adapters.jinja_templates.loops import loop_hazards
from weighbridge.adapters.jinja_templates.reaching import reaching_hazards
from weighbridge.adapters.jinja_templates.showing import showing_hazards
from weighbridge.domain.templates import Hazard


class _Generation(Extension):
    """The tag that marks what the assistant says, for masks in training."""

    tags = {"generation"}  # noqa: RUF012  # jinja2's own spelling

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        """The tag's body as a scope."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


@functools.cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )


def template_hazards(text: str) -> Iterator[Hazard]:
    """Parses and walks: linear in the size, and no deeper than the parser goes."""
    try:
        tree = _environment().parse(text)
        found = [*_unknown_words(tree), *reaching_hazards(tree), *loop_hazards(tree),
                 *showing_hazards(tree, text), *failing_hazards(tree)]  # fmt: skip
    except jinja2.TemplateSyntaxError as error:
        yield Hazard("CT001", f"{error.message} at line {error.lineno}")
    except RecursionError:
        yield Hazard("CT009", "is nested too deeply to be examined")
    except (ValueError, OverflowError, MemoryError) as error:  # numbers, escapes
        yield Hazard("CT001", f"{type(error).__name__}: {error}"[:200])
    else:
        yield from found


def _unknown_words(tree: nodes.Template) -> Iterator[Hazard]:
    """Filters and tests that jinja2 has not, which it tells when it compiles, and not before.

    What is within a condition fails only if it comes to that: DeepSeek's templates have a filter
    there that llama.cpp knows.
    """
    known, waiting = _environment(), list[nodes.Node]([tree])
    while waiting:
        node = waiting.pop()
        if isinstance(node, nodes.Filter) and node.name not in known.filters:
            yield Hazard("CT001", f"No filter named {node.name[:40]!r} at line {node.lineno}")
        if isinstance(node, nodes.Test) and node.name not in known.tests:
            yield Hazard("CT001", f"No test named {node.name[:40]!r} at line {node.lineno}")
        if not isinstance(node, nodes.If | nodes.CondExpr):
            waiting += node.iter_child_nodes()
