"""What is planned, published, told of the past and compared, as text for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import click

from weighbridge.domain.publication import (
    SHORT,
    Change,
    HubRepo,
    PublicationPlan,
    Receipt,
    Revision,
    short_id,
)
from weighbridge.entrypoints.render.escape import human_bytes, visible
from weighbridge.entrypoints.render.layout import counted, dim, pairs, sizes
from weighbridge.entrypoints.render.report_text import report
from weighbridge.entrypoints.render.text import proof

if TYPE_CHECKING:
    from weighbridge.application.compare import Comparison, TensorChange
    from weighbridge.application.copy import Copied
    from weighbridge.application.history import RolledBack
    from weighbridge.application.publish import PublishOutcome
    from weighbridge.application.pull import Pulled
    from weighbridge.domain.artifact import Digest
    from weighbridge.domain.tensors import TensorSpec
    from weighbridge.entrypoints.saved_plans import SavedPlan

_SIGNS = {
    "add": ("+", "green"),
    "change": ("~", "yellow"),
    "keep": (" ", None),
    "remove": ("-", "red"),
}


def plan(planned: PublicationPlan) -> str:
    """What a publication would change."""
    seen = ""
    if isinstance(planned.destination, HubRepo):
        seen = " (private)" if planned.private else " (may be public)"
    counts = ", ".join(f"{a} {len(planned.of(a))}" for a in _SIGNS if planned.of(a))
    sent = human_bytes(planned.upload_bytes) if planned.upload_bytes else "nothing"
    head = f"{visible(str(planned.destination))}{seen}, {_ground(planned)}"
    tags = (_tag(name, now) for name, now in planned.tags)
    return "\n".join([head, *_changes(planned.changes), *tags, f"{counts}; {sent} to send"])


def _ground(planned: PublicationPlan) -> str:
    if planned.parent is not None:
        kind = "as a pull request " if planned.pull_request else ""
        return f"{kind}on revision {short_id(planned.parent)}"
    if planned.start is not None:
        return f"a new branch from revision {short_id(planned.start)}"
    return "as the first revision"


def _tag(name: str, now: str | None) -> str:
    moved = f", which names {short_id(now)} now" if now else ""
    return click.style(f"  + tag {visible(name)}{moved}", fg="yellow" if now else "green")


def _changes(changes: Sequence[Change]) -> Iterator[str]:
    rows = list(sizes(((str(c.path), c.size) for c in changes), ""))
    for each, row in zip(changes, rows, strict=True):
        sign, colour = _SIGNS[each.action]
        line = f"  {sign} {row}"
        shown = _digest(each)
        told = dim(f"  {shown}") if shown else ""
        yield (click.style(line, fg=colour) if colour else line) + told


def _digest(change: Change) -> str:
    shown = change.digest or change.before
    before = change.before if change.action == "change" else None
    return (f"{_short(before)} -> " if before else "") + (_short(shown) if shown else "")


def _short(digest: Digest) -> str:
    return f"{digest.algorithm}:{digest.value[:SHORT]}"


def saved_plan(saved: SavedPlan, *, figures: bool = False) -> str:
    """The answer of ``plan``."""
    lines = []
    if saved.outcome is not None:
        lines.append(report(saved.outcome.report))
        if saved.outcome.proof is not None:
            lines.append(proof(saved.outcome.proof, figures=figures))
    done = "nothing to do" if saved.plan.does_nothing else "nothing was sent"
    return "\n".join([*lines, plan(saved.plan), click.style(done, fg="yellow")])


def outcome(done: PublishOutcome, *, figures: bool = False) -> str:
    """The answer of ``publish``."""
    lines = [report(done.report)]
    if done.proof is not None:
        lines.append(proof(done.proof, figures=figures))
    lines.append(plan(done.plan))
    if done.receipt is None:
        lines.append(click.style("dry run: nothing was sent", fg="yellow"))
    else:
        lines += _received(done.receipt, "proposed" if done.plan.pull_request else "published")
    return "\n".join(lines)


def log(destination: str, told: Iterable[Revision]) -> str:
    """The answer of ``log``."""
    lines = []
    for each in told:
        tags = click.style("".join(f" [{visible(tag)}]" for tag in each.tags), fg="green")
        when = dim(each.when or "at an unknown time")
        lines.append(f"{each.id}  {when}  {visible(each.message)}{tags}")
    return "\n".join([visible(destination), *lines])


def comparison(done: Comparison) -> str:
    """The answer of ``diff``."""
    before, after = (
        f"{visible(str(place))} ({short_id(revision)})"
        for place, revision in zip((done.before, done.after), done.revisions, strict=True)
    )
    changed = [c for c in done.changes if c.action != "keep"]
    lines = [f"{before} -> {after}"]
    if not changed:
        return "\n".join([*lines, "no file differs"])
    lines += _changes(changed)
    lines += [f"  {visible(path)}: not a file of weights that can be read" for path in done.unread]
    if done.tensors or done.equal:
        lines.append(
            f"{counted(len(done.tensors), 'tensor')} of changed files differ, {done.equal} do not"
        )
    return "\n".join([*lines, *map(_tensor, done.tensors)])


def _tensor(change: TensorChange) -> str:
    name, before, after = visible(change.name), _spec(change.before), _spec(change.after)
    if change.before is None:
        return click.style(f"  + {name}  {after}", fg="green")
    if change.after is None:
        return click.style(f"  - {name}  {before}", fg="red")
    if change.distance is None:
        return click.style(f"  ~ {name}  {before} -> {after}", fg="yellow")
    far = change.distance
    moved = f"{counted(far.changed, 'element')} differ"
    if far.largest is not None and far.relative is not None:
        moved += f", by at most {far.largest:.3g}, {far.relative:.2%} of the norm"
    return click.style(f"  ~ {name}  {after}", fg="yellow") + f"  {moved}"


def _spec(spec: TensorSpec | None) -> str:
    return "" if spec is None else f"{spec.dtype} {list(spec.shape)}"


def rolled_back(done: RolledBack) -> str:
    """The answer of ``rollback``."""
    changed = [c for c in done.changes if c.action != "keep"]
    head = (
        f"{visible(str(done.destination))}: from revision {short_id(done.before)} back to the "
        f"content of {short_id(done.to)}"
    )
    lines = [head, *_changes(changed)]
    if done.receipt is None:
        return "\n".join([*lines, click.style("dry run: nothing was changed", fg="yellow")])
    return "\n".join([*lines, *_received(done.receipt, "rolled back")])


def _received(receipt: Receipt, word: str) -> Iterator[str]:
    said = click.style(word if receipt.created else "up to date", fg="green", bold=True)
    yield f"{said} {visible(str(receipt.destination))}, read back and equal"
    yield from pairs(
        [("revision", receipt.revision), *([("at", receipt.url)] if receipt.url else [])]
    )


def copied(done: Copied) -> str:
    """The answer of ``copy``."""
    source = f"from {visible(str(done.source))} at {done.revision}"
    if done.receipt is None:
        ending: Iterable[str] = [click.style("dry run: nothing was sent", fg="yellow")]
    else:
        ending = _received(done.receipt, "copied to" if done.receipt.created else "up to date")
    return "\n".join([source, plan(done.plan), *ending])


def pulled(done: Pulled) -> str:
    """The answer of ``pull``."""
    word = click.style("pulled", fg="green", bold=True)
    head = f"{word} {visible(str(done.source))} to {visible(done.output)}, every digest verified"
    rows = sizes((str(e.path), e.size) for e in done.entries)
    return "\n".join([head, *pairs([("revision", done.revision)]), *rows])
