"""CF: config.json of a whole model against its tensors and its tokens."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from weighbridge.domain.architectures import ARCHITECTURES, architecture_for
from weighbridge.domain.checkpoints.packing import Packed, packed_elsewhere
from weighbridge.domain.config_view import config_view
from weighbridge.domain.detection import CONFIG, SINGLE
from weighbridge.domain.findings import Fact, Location, Need, Observation, Rule, Severity, Subject
from weighbridge.domain.llama_shapes import positive
from weighbridge.domain.mlx.reading import REMAPPED
from weighbridge.domain.models import FusedModel, Kind
from weighbridge.domain.placement import Standing
from weighbridge.domain.tensors import DTYPE_BITS
from weighbridge.domain.tokenizer import token_ids
from weighbridge.domain.transformers_defaults import DEFAULTS, UNKNOWN

_EMBEDDING_ENDS = ("s.weight", "wte.weight", "embed_in.weight")
_EMBEDDING = re.compile(r"(.*\.)?(embed_tokens|wte|embed_in|word_embeddings|tok_embeddings"
                        r"|embeddings)\.weight")  # fmt: skip
#: Words of MLX's packed weights, and of others'.
PACKED = ("U32", "U8")


def text_fields(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The text model's fields, wherever they are."""
    view = config_view(config)
    if view is not None:
        return view.text
    nested = config.get("text_config")
    return nested if isinstance(nested, Mapping) else config


def places(subject: Subject) -> dict[str, str]:
    """The file of every tensor of the model."""
    found: dict[str, str] = {}
    for path in reversed(subject.fused.weights_paths):
        file = subject.artifact.tensor_file(path)
        if file is not None and file.header is not None:
            found |= dict.fromkeys(file.header.specs, path)
    return found


def packed_modules(model: FusedModel) -> Iterator[Packed]:
    """Every module that has scales and a weight."""
    if not model.quantised:
        return
    by_name = {spec.name: spec for spec in model.tensors}
    for name, scales in by_name.items():
        module = name.removesuffix(".scales")
        weight = by_name.get(f"{module}.weight")
        if module != name and weight is not None and weight.shape and scales.shape:
            yield Packed(module, weight, scales, by_name.get(f"{module}.biases"),
                         by_name.get(f"{module}.global_scale"))  # fmt: skip


def embedding(model: FusedModel) -> tuple[int, int | None] | None:
    """How many tokens the embedding has and how wide it is, None if packed; None if not told."""
    firsts = (group[0] for group in model.alike)
    matrices = (s for s in firsts if len(s.shape) == 2 and s.name.endswith(_EMBEDDING_ENDS))
    found = [s for s in matrices if _EMBEDDING.fullmatch(s.name)]
    if len({s.shape[0] for s in found}) != 1:
        return None
    return found[0].shape[0], None if found[0].dtype in PACKED else found[0].shape[1]


def embedding_rows(subject: Subject) -> int | None:
    """How many tokens the embedding has; None if that is not told."""
    found = embedding(subject.fused)
    return found and found[0]


def _config_missing(subject: Subject) -> Iterator[Observation]:
    """Weights alone do not say what model they are of; no loader takes them."""
    paths = subject.artifact.paths
    if subject.kind is None and CONFIG not in paths and SINGLE in paths:
        yield Observation(Location(SINGLE))


def _unknown_type(subject: Subject) -> Iterator[Observation]:
    """mlx-lm cannot load the model: nobody can check it on MLX, or tune it further."""
    config = subject.fused.config
    named = config.get("model_type")
    if not isinstance(named, str) or named in ARCHITECTURES or named in REMAPPED:
        return
    if config_view(config) is None and architecture_for(config).standing is Standing.REFUSED:
        yield Observation(Location(CONFIG, "model_type"), {"named": named[:80]})


def generates(config: Mapping[str, Any]) -> bool:
    """False if it is of a class with a head of another kind, which has tensors of its own."""
    named = config.get("architectures")
    first = str(named[0]) if isinstance(named, list) and named else "ForCausalLM"
    return first.endswith(("ForCausalLM", "ForConditionalGeneration"))


def _tie(subject: Subject) -> Iterator[Observation]:
    """One loader computes logits with the embedding, another with the head that is stored, or with
    a random one."""
    model = subject.fused
    fields, entry = text_fields(model.config), architecture_for(model.config)
    said = model.config.get("tie_word_embeddings", fields.get("tie_word_embeddings"))
    if said is None:
        named = str(fields.get("model_type") or model.config.get("model_type"))
        said = DEFAULTS.get(named, UNKNOWN).tied
    names = [group[0].name for group in model.alike]
    stored = any(n.endswith("lm_head.weight") or "embed_out" in n for n in names)
    embedded = any(n.endswith("embed_tokens.weight") for n in names)
    if entry.standing is not Standing.CONVERTIBLE or not embedded:
        return
    if said is True and stored and not _same_as_embedding(subject):
        yield Observation(Location(CONFIG, "tie_word_embeddings"),
                          {"problem": "is true, but lm_head.weight is stored"})  # fmt: skip
    if said is False and not stored and generates(model.config):
        yield Observation(Location(CONFIG, "tie_word_embeddings"),
                          {"problem": "is false, but no lm_head.weight is stored"})  # fmt: skip


def _same_as_embedding(subject: Subject) -> bool:
    """True if the head is the embedding once more, as some trainers save it."""
    groups = subject.survey.duplicates if subject.survey else ()
    names = ({name for _, name in group} for group in groups)
    return any(any(map(_EMBEDDING.fullmatch, held)) and any(n.endswith("lm_head.weight")
               for n in held) for held in names)  # fmt: skip


_MOST_SHOWN = 8


def _out_of_range(subject: Subject) -> Iterator[Observation]:
    """The token has no row in the embedding: it can be neither read nor made, so that generation
    never stops, or fails."""
    rows = embedding_rows(subject) or positive(text_fields(subject.fused.config), "vocab_size")
    for path in (CONFIG, "generation_config.json"):
        document = subject.artifact.document(path)
        fields = document.object if document and rows else {}
        for key in ("eos_token_id", "bos_token_id", "pad_token_id"):
            # As the first Llamas have it, for a pad token that is not set.
            unset = -1 if key == "pad_token_id" else None
            ids = _ids(fields, key)
            wrong = (each for each in ids if not 0 <= each[1] < (rows or 0) and each[1] != unset)
            for where, number in islice(wrong, _MOST_SHOWN):
                yield Observation(Location(path, where), {"number": number, "rows": rows or 0})


def _ids(fields: Mapping[str, Any], key: str) -> Iterator[tuple[str, int]]:
    """The token ids of that field, the text model's own where the whole has none."""
    text = fields.get("text_config")
    if fields.get(key) is None and isinstance(text, Mapping):
        yield from ((f"text_config.{key}", number) for number in token_ids(text.get(key)))
    yield from ((key, number) for number in token_ids(fields.get(key)))


_DTYPES = {"float16": "F16", "bfloat16": "BF16", "float32": "F32"}


def _dtype(subject: Subject) -> Iterator[Observation]:
    """transformers loads the weights in the dtype that is written; from float32 it makes copies of
    twice the size, and of bfloat16 in float16 large values overflow."""
    model = subject.fused
    said = next((v for fields in (model.config, text_fields(model.config))
                 for key in ("dtype", "torch_dtype") if (v := fields.get(key))), None)  # fmt: skip
    sizes: Counter[str] = Counter()
    for group in model.alike:
        if group[0].dtype in _DTYPES.values():
            sizes[group[0].dtype] += len(group) * math.prod(group[0].shape)
    wanted = _DTYPES.get(str(said).removeprefix("torch."))
    most = max(sizes, key=lambda name: sizes[name] * DTYPE_BITS[name], default=None)
    if wanted and most and wanted != most and not model.quantised:
        yield Observation(Location(CONFIG, "dtype"), {"said": str(said), "most": most})


def _halves(subject: Subject) -> Iterator[Observation]:
    """No tool writes both 16-bit floats into one model. MLX computes in float32 from where they
    meet; and what was saved under the other's name looks the same, and is noise."""
    model = subject.fused
    if packed_elsewhere(model):
        return  # whose scales have a dtype of their own
    held: dict[str, list[str]] = {"F16": [], "BF16": []}
    for group in model.alike:
        if group[0].dtype in held:
            held[group[0].dtype] += [spec.name for spec in group]
    few, most = sorted(held, key=lambda dtype: len(held[dtype]))
    if held[few]:
        first = min(held[few])
        facts: dict[str, Fact] = {"few": few, "count": len(held[few]), "most": most}
        yield Observation(Location(places(subject).get(first, ""), first), facts)


_E, _W, _I = Severity.ERROR, Severity.WARNING, Severity.INFO
_FUSED = frozenset({Kind.FUSED})
_COPY = "copy config.json that was written with these weights"
RULES = (
    Rule("CF001", "config-missing", _E, "has no config.json beside it",
         "copy config.json from where the weights were made", _config_missing),
    Rule("CF003", "architecture-unknown", _W, "is {named!r}, which mlx-lm has no model for",
         "update mlx-lm, or publish it as what it is", _unknown_type, Need.MODEL, _FUSED),
    Rule("CF012", "tie-contradiction", _W, "{problem}",
         "write what the base model's config.json says", _tie, Need.MODEL, _FUSED),
    Rule("CF013", "token-id-out-of-range", _E, "is {number}; the embedding has {rows} rows", _COPY,
         _out_of_range, Need.MODEL, _FUSED),
    Rule("CF020", "dtype-disagrees", _I, "is {said}, but most weights are {most}",
         "write the dtype of the weights", _dtype, Need.MODEL, _FUSED),
    Rule("CF029", "dtypes-mixed", _W, "is {few}, as are {count} tensors in all; the others are "
         "{most}", "save all weights again in one dtype, from their source", _halves, Need.MODEL,
         _FUSED),
)  # fmt: skip
