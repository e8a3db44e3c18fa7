"""PE: the tensors of PEFT adapters, what we wrote and what others did: names, shapes, places."""

from __future__ import annotations

from collections.abc import Iterator

from weighbridge.domain.architectures import architecture_for, architecture_of
from weighbridge.domain.conversion import KEY_PREFIX
from weighbridge.domain.detection import PEFT_WEIGHTS
from weighbridge.domain.findings import Fact, Location, Need, Observation, Rule, Severity, Subject
from weighbridge.domain.models import Kind, PeftModel
from weighbridge.domain.peft.config import (
    MOST_NAMED,
    is_of_saved,
    stated_rank,
    wraps_the_bare_model,
)
from weighbridge.domain.peft.names import LoraName, Part, parse_name, placed
from weighbridge.domain.peft.selection import NotPeft, pair_rank
from weighbridge.domain.repairing.misnamed import misnamed_files
from weighbridge.domain.repairing.orientation import (
    is_turned,
    settle_rank,
    sizes_in_base,
    stored_pairs,
)
from weighbridge.domain.tensors import TensorSpec


def _names(model: PeftModel) -> Iterator[LoraName]:
    for spec in model.tensors:
        if (name := parse_name(spec.name)) is not None:
            yield name


def _prefix(subject: Subject) -> Iterator[Observation]:
    """PEFT drops such a tensor with no more than a warning, and the adapter does nothing."""
    for spec in subject.peft.tensors:
        if not spec.name.startswith(KEY_PREFIX):
            yield Observation(Location(subject.peft.weights_path, spec.name))


def _pairs(subject: Subject) -> Iterator[Observation]:
    """A factor without its partner is dropped in silence."""
    model = subject.peft
    held = {name.key for name in _names(model)}
    for name in _names(model):
        if name.part is Part.MAGNITUDE:
            continue
        other = Part.B if name.part is Part.A else Part.A
        if (name.core, other) not in held:
            at = name.text.rindex(name.leaf) + len(name.leaf) - 1
            letter = other.value[-1] if name.leaf[-1].islower() else other.value[-1].upper()
            partner = name.text[:at] + letter + name.text[at + 1 :]
            yield Observation(Location(model.weights_path, name.text), {"partner": partner})


def _settled(subject: Subject) -> tuple[int | None, Iterator[tuple[TensorSpec, Part]]]:
    """The rank of all pairs, if shapes tell, and the matrices that it could be seen in.

    There are none if the config gives modules ranks of their own.
    """
    model = subject.peft
    pairs = () if model.config.get("rank_pattern") else stored_pairs(model.tensors)
    sizes = sizes_in_base(pairs, subject.base_config)
    rank = settle_rank(pairs, stated_rank(model.config), sizes).value
    return rank, (each for p in pairs for each in ((p.a, Part.A), (p.b, Part.B)))


def _rank(subject: Subject) -> Iterator[Observation]:
    """PEFT builds modules of rank r and refuses other shapes."""
    model = subject.peft
    stated = stated_rank(model.config)
    settled, factors = _settled(subject)
    for spec, part in factors:
        actual = settled or (spec.shape[0] if part is Part.A else spec.shape[1])
        turned = settled is None and stated in spec.shape
        if stated is not None and actual != stated and not turned:
            facts: dict[str, Fact] = {"actual": actual, "rank": stated}
            yield Observation(Location(model.weights_path, spec.name), facts)
    for spec, actual, wanted in _patterned_ranks(model):
        facts = {"actual": actual, "rank": wanted}
        yield Observation(Location(model.weights_path, spec.name), facts)


def _patterned_ranks(model: PeftModel) -> Iterator[tuple[TensorSpec, int, int]]:
    """The pairs whose rank is not what ``rank_pattern`` or ``r`` gives their module: the first
    factor, its rank, and that."""
    if not model.config.get("rank_pattern"):
        return
    for pair in stored_pairs(model.tensors):
        name = parse_name(pair.a.name)
        try:
            wanted = pair_rank(name.module, model.config) if name else None
        except NotPeft:
            return
        if wanted is not None and wanted not in pair.ranks():
            yield pair.a, pair.a.shape[0], wanted


def _not_transposed(subject: Subject) -> Iterator[Observation]:
    """MLX stores lora_a as (in, rank) and lora_b as (rank, out), PEFT the transposes. PEFT refuses
    the shapes; where a module is square it takes them, and computes something else."""
    model = subject.peft
    settled, factors = _settled(subject)
    rank = settled or stated_rank(model.config)
    for spec, part in factors:
        if rank is not None and rank in spec.shape and is_turned(spec, part, rank):
            found, right = str(list(spec.shape)), str(list(spec.shape[::-1]))
            facts: dict[str, Fact] = {"shape": found, "right": right, "rank": rank}
            yield Observation(Location(model.weights_path, spec.name), facts)


def _short(name: LoraName, model: PeftModel) -> bool:
    decoder = name.module.startswith(("layers.", "embed_tokens"))
    return name.wrappers == 1 and decoder and not wraps_the_bare_model(model.config)


def _twice(name: LoraName, model: PeftModel) -> bool:
    again = name.module.startswith(("base_model.", "model.model."))
    return name.wrappers > 1 or (again and not wraps_the_bare_model(model.config))


def _model_missing(subject: Subject) -> Iterator[Observation]:
    """PEFT's wrapper is base_model.model., and the decoder's own path begins with model. as well.
    With one of the two left out, every tensor is dropped with no more than a warning."""
    model = subject.peft
    for name in _names(model):
        if _short(name, model):
            right = f"{KEY_PREFIX}model.{name.module}"
            yield Observation(Location(model.weights_path, name.text), {"right": right})


def _doubled(subject: Subject) -> Iterator[Observation]:
    """A script that adds the prefix to names which have it already makes names of nothing."""
    model = subject.peft
    for name in _names(model):
        if _twice(name, model):
            yield Observation(Location(model.weights_path, name.text))


def _not_in_base(subject: Subject) -> Iterator[Observation]:
    """PEFT looks a module up by its path in the class that transformers builds; the containers
    (model, language_model) are others there than in MLX, and changed with transformers 5."""
    model, config = subject.peft, subject.base_config or {}
    model_type = config.get("model_type")
    architecture = architecture_of(model_type if isinstance(model_type, str) else None)
    for name in _names(model):
        if _short(name, model) or _twice(name, model) or wraps_the_bare_model(model.config):
            continue  # the rules before this one know the cause
        places = placed(name.module, architecture).values()
        known = {p.path for p in places} | {p.checkpoint for p in places}
        if name.wrappers == 1 and known and name.module not in known:
            facts = {"module": name.module, "right": min(p.path for p in places)}
            yield Observation(Location(model.weights_path, name.text), facts)


def _of_older_transformers(subject: Subject) -> Iterator[Observation]:
    """transformers 4 and servers find it; PEFT on transformers 5, which calls the module otherwise
    and renames the keys of other architectures, drops it with no more than a warning."""
    model, architecture = subject.peft, architecture_for(subject.base_config or {})
    if not architecture.lost_on_load:
        return
    for name in _names(model):
        for path, place in placed(name.module, architecture).items():
            lost = not architecture.loads_as_checkpoint(path)
            if lost and name.module == place.checkpoint != place.path:
                facts: dict[str, Fact] = {"right": place.path}
                yield Observation(Location(model.weights_path, name.text), facts)
                break


def _leaf(subject: Subject) -> Iterator[Observation]:
    """PEFT finds factors by these very words and drops everything else in silence."""
    model = subject.peft
    for name in _names(model):
        if not name.leaf_is_proper:
            facts = {"leaf": name.leaf + (".weight" if name.weight else ""),
                     "right": name.proper_leaf}  # fmt: skip
            yield Observation(Location(model.weights_path, name.text), facts)


def _no_matrix(subject: Subject) -> Iterator[Observation]:
    """A factor is a matrix; of a convolution it has the kernel's axes as well."""
    model = subject.peft
    for spec in model.tensors:
        name = parse_name(spec.name)
        if name is not None and name.part is not Part.MAGNITUDE and len(spec.shape) < 2:
            shape = " x ".join(map(str, spec.shape)) or "a scalar"
            yield Observation(Location(model.weights_path, spec.name), {"shape": shape})


def _adapter_name(subject: Subject) -> Iterator[Observation]:
    """PEFT names adapters in memory and strips the name when it saves. It loads such a file, but
    vLLM, llama.cpp and others refuse the tensor or pass it over."""
    model = subject.peft
    for name in _names(model):
        if name.adapter is not None:
            yield Observation(Location(model.weights_path, name.text), {"adapter": name.adapter})


_TOLERATED = ("embed_tokens", "lm_head", "wte", "base_layer", "trainable_tokens", ".lora_")


def _foreign(subject: Subject) -> Iterator[Observation]:
    """PEFT passes it over in silence, or puts it in the place of a weight of the base."""
    model = subject.peft
    saved = model.config.get("modules_to_save")
    kept = tuple(map(str, saved[:MOST_NAMED])) if isinstance(saved, list) else ()
    if model.config.get("bias") not in (None, "none"):
        return
    for spec in model.tensors:
        if parse_name(spec.name) is not None or any(word in spec.name for word in _TOLERATED):
            continue
        if not any(is_of_saved(spec.name, module) for module in kept):
            yield Observation(Location(model.weights_path, spec.name))


def _misnamed(subject: Subject) -> Iterator[Observation]:
    """Loaders look for adapter_model.safetensors and for nothing else."""
    for file in misnamed_files(subject.artifact):
        yield Observation(Location(file.path.text), {"right": PEFT_WEIGHTS})


_E, _W = Severity.ERROR, Severity.WARNING
_PEFT = frozenset({Kind.PEFT})
_RENAME = "weighbridge repair renames it"
_REPAIR = "weighbridge repair corrects it, with --original RUN if the MLX run is at hand"
RULES = (
    Rule("PE002", "key-prefix", _E, "does not begin with base_model.model.", _RENAME, _prefix,
         Need.MODEL, _PEFT),
    Rule("PE003", "unpaired-factor", _E, "has no partner {partner}",
         "weighbridge repair --original RUN takes the partner from the MLX run", _pairs,
         Need.MODEL, _PEFT),
    Rule("PE004", "rank-mismatch", _E, "has inner size {actual}, but r is {rank}", _REPAIR, _rank,
         Need.MODEL, _PEFT),
    Rule("PE005", "factor-not-transposed", _E, "is {shape}, as MLX stores a factor of rank {rank}; "
         "PEFT's is {right}", "weighbridge repair transposes it", _not_transposed, Need.MODEL,
         _PEFT),
    Rule("PE006", "key-model-missing", _E, "is one model. short of {right}", _RENAME,
         _model_missing, Need.MODEL, _PEFT),
    Rule("PE007", "key-prefix-doubled", _E, "has a prefix twice", _RENAME, _doubled, Need.MODEL,
         _PEFT),
    Rule("PE008", "key-not-in-base", _E, "names {module}, which the base calls {right}",
         "weighbridge repair --base DIR renames it", _not_in_base, Need.BASE, _PEFT),
    Rule("PE028", "key-of-older-transformers", _W, "names a module as transformers 4 does; in "
         "transformers 5 it is {right}", "say which transformers it is for, or convert the MLX run "
         "again with --profile peft", _of_older_transformers, Need.BASE, _PEFT),
    Rule("PE009", "factor-name", _E, "ends in {leaf}, where PEFT reads {right}", _RENAME, _leaf,
         Need.MODEL, _PEFT),
    Rule("PE010", "adapter-name-in-key", _W, "has the adapter's name {adapter!r} in it", _RENAME,
         _adapter_name, Need.MODEL, _PEFT),
    Rule("PE029", "factor-not-matrix", _E, "is {shape}, and no matrix",
         "save the adapter again with PEFT", _no_matrix, Need.MODEL, _PEFT),
    Rule("PE011", "foreign-tensor", _W, "is no tensor of a LoRA",
         "leave it out; weighbridge repair --original RUN does", _foreign, Need.MODEL, _PEFT),
    Rule("PE012", "weights-misnamed", _E, "holds a PEFT adapter under a name that no loader looks "
         "for", "rename it to adapter_model.safetensors; weighbridge repair does", _misnamed),
)  # fmt: skip
