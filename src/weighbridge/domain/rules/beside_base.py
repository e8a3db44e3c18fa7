"""WT011 and on: weights beside those of the base, if it is at hand with its weights."""

from __future__ import annotations

from collections.abc import Iterator

from weighbridge.domain.findings import Fact, Location, Need, Observation, Rule, Severity, Subject
from weighbridge.domain.measures import MOST_RELATIVE_CHANGE
from weighbridge.domain.models import FusedModel, Kind, LoraModel, PeftModel


def _out_of_reason(subject: Subject) -> Iterator[Observation]:
    """A change that is larger than the weight it adjusts leaves little of the base: the scale is
    wrong, training diverged, or the base is another. LoRAs of SmolLM2 that learnt stayed below a
    tenth, and those that diverged were beyond 1."""
    model = subject.model
    assert isinstance(model, LoraModel | PeftModel)
    for seen in subject.changes or ():
        if seen.ratio > MOST_RELATIVE_CHANGE:
            facts = {"ratio": f"{seen.ratio:.3g}"}
            yield Observation(Location(model.weights_path, seen.module), facts)


def _is_the_base(subject: Subject) -> Iterator[Observation]:
    """Nothing of a fine-tune is in it. Fusing a LoRA into a quantised base and quantising again
    loses every change that is less than half a step of the quantisation."""
    if subject.beside_base is not None and subject.beside_base.same:
        model = subject.model
        assert isinstance(model, FusedModel)
        yield Observation(Location(model.directory), {"count": len(model.tensors)})


def _shifted_norms(subject: Subject) -> Iterator[Observation]:
    """Some architectures multiply by one plus a norm's weight, and mlx-lm stores the sum for some.
    Training moves no norm by one in all its elements: a conversion did, once too often or not at
    all, and the model answers nonsense without an error."""
    model = subject.model
    assert isinstance(model, FusedModel)
    found = subject.beside_base.norms if subject.beside_base is not None else ()
    shifted = [offset for offset in found if offset.ones]
    if 2 * len(shifted) > len(found) > 1:
        where = Location(model.directory, shifted[0].name)
        mean = f"{shifted[0].mean:+.3g}"
        yield Observation(where, {"count": len(shifted), "all": len(found), "mean": mean})


def _unlike(subject: Subject) -> Iterator[Observation]:
    """Training turns a weight a little. One that points elsewhere is of another model or layer, has
    its rows or its packed numbers in another order, is transposed, or has its signs turned."""
    model = subject.model
    assert isinstance(model, FusedModel)
    held = subject.beside_base.matrices if subject.beside_base is not None else ()
    found = [one for one in held if one.cosine < _LEAST_COSINE]
    if found:
        facts: dict[str, Fact] = {"count": len(found), "all": len(held)}
        yield Observation(Location(model.directory, found[0].module), facts)


#: Of weights with a change of twice their own size 0.44 is left, of those packed in one bit each
#: 0.8, and at most 0.15 where the rows of a head change places.
_LEAST_COSINE = 0.2
RULES = (
    Rule("WT011", "change-out-of-reason", Severity.WARNING,
         "changes the weight by {ratio} times its own norm",
         "check scale and base; train again with a lower learning rate if they are right",
         _out_of_reason, Need.BASE_WEIGHTS, frozenset({Kind.LORA, Kind.PEFT})),
    Rule("WT012", "same-as-base", Severity.ERROR,
         "all {count} tensors are the base's, bit for bit",
         "fuse into the unquantised base (weighbridge fuse) and quantise after that, or publish "
         "the LoRA", _is_the_base, Need.BASE_WEIGHTS, frozenset({Kind.FUSED})),
    Rule("WT013", "norms-shifted", Severity.WARNING,
         "and {count} of {all} norms in all are the base's {mean}",
         "convert the model again with the mlx-lm that will load it", _shifted_norms,
         Need.BASE_WEIGHTS, frozenset({Kind.FUSED})),
    Rule("WT023", "unlike-base", Severity.ERROR,
         "and {count} of {all} matrices in all have next to nothing of the base's",
         "name the base that it was made of, or make it again from that", _unlike,
         Need.BASE_WEIGHTS, frozenset({Kind.FUSED})),
)  # fmt: skip
