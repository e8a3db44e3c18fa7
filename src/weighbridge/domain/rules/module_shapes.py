"""CF010: shapes of a whole model's tensors against the sizes in config.json."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from attrs import frozen

from weighbridge.domain.architectures import architecture_for
from weighbridge.domain.attention import LEAVES, tells_attention
from weighbridge.domain.checkpoints.packing import packing_of, quantisation_of
from weighbridge.domain.experts import held_experts, other_count
from weighbridge.domain.findings import Location, Need, Observation, Rule, Severity, Subject
from weighbridge.domain.layer_shapes import Shape, is_written_out, module_shape, text_type
from weighbridge.domain.llama_shapes import expected_shape, positive
from weighbridge.domain.models import FusedModel, Kind
from weighbridge.domain.placement import Standing
from weighbridge.domain.rules.whole_model import PACKED, packed_modules, places, text_fields
from weighbridge.domain.tensors import TensorSpec
from weighbridge.domain.tower_shapes import LAYERS, tower_shape

#: Modules whose shape the config tells, if all layers are alike.
_UNIFORM = re.compile(r"(?:language_model\.model|model\.language_model|model)\.(?:layers\.\d+\.)?"
                      r"(?:(?<=\d\.)(?:self_attn|mlp)\.([a-z]+_proj)"
                      r"|(norm|input_layernorm|post_attention_layernorm))\.weight")  # fmt: skip
#: Modules of any decoder, and stacks of experts as transformers has them, that lie either way.
_IN_LAYER = re.compile(
    r"(?:language_model\.model|model\.language_model|model|backbone)\.layers\.\d+\."
    r"(?P<path>[a-z0-9_.]+?)(?:\.weight|(?P<bare>))"
)
_IN_TOWER = re.compile(LAYERS)
_STACK = re.compile(r".*\.experts\.(gate_up|down)_proj")
_OF_EXPERTS = re.compile(r".*\.(switch_mlp|switch_glu|experts|block_sparse_moe)\.\w+(\.weight)?")
_NORMS = ("norm", "input_layernorm", "post_attention_layernorm")
_OF_TOKENS = ("embed_tokens", "lm_head", "wte", "embed_in", "embed_out")
#: Types in which a head's size is not hidden_size / heads if config.json leaves it out.
_OWN_HEAD_SIZE = re.compile(r"(gemma|qwen3|mistral|ministral|glm|exaone|hunyuan|seed_oss|helium"
                            r"|ernie)")  # fmt: skip


def _unpacked(model: FusedModel) -> dict[str, tuple[int, ...]]:
    """The shapes that packed weights have unpacked, of those that it can be told of."""
    said = quantisation_of(model.config)
    shapes = {}
    for packed in packed_modules(model):
        found = packing_of(packed, said)
        if not isinstance(found, str):
            shape = packed.weight.shape
            shapes[packed.weight.name] = (*shape[:-1], shape[-1] * 32 // found.bits)
    return shapes


def _shapes(subject: Subject) -> Iterator[Observation]:
    """Loaders refuse the tensor, or make it anew at random and go on."""
    yield from _mixtures(subject)
    model = subject.fused
    tree = Tree.of(model.config)
    if not tree.known:
        return
    unpacked = _unpacked(model)
    misfits: list[tuple[TensorSpec, tuple[int, ...], Shape]] = []
    for group in model.alike:
        wanted = tree.shape(group[0].name)
        if wanted is None:
            continue
        # Words of 32 bits are MLX's; other tools pack theirs in bytes.
        packed = group[0].dtype in PACKED
        for spec in group if packed or not fits(group[0].name, group[0].shape, wanted) else ():
            actual = unpacked.get(spec.name) if packed else spec.shape
            if actual is not None and not fits(spec.name, actual, wanted):
                misfits.append((spec, actual, wanted))
    paths = places(subject) if misfits else {}
    for spec, actual, wanted in misfits:
        told = " x ".join("any" if w is None else str(w) for w in wanted)
        facts = {"actual": " x ".join(map(str, actual)) or "a scalar", "wanted": told}
        yield Observation(Location(paths.get(spec.name, ""), spec.name), facts)


def _mixtures(subject: Subject) -> Iterator[Observation]:
    """Where there are other experts than the config counts."""
    model = subject.fused
    tree, paths, seen = Tree.of(model.config), dict[str, str](), set[str]()
    for spec, mixture, held in held_experts(model.alike):
        count = other_count(tree.fields, tree.model_type, held)
        if count is not None and mixture not in seen and _IN_TOWER.match(mixture) is None:
            paths = places(subject) if not seen else paths
            seen.add(mixture)
            facts = {"actual": f"a mixture of {held} experts", "wanted": f"one of {count}"}
            yield Observation(Location(paths.get(spec.name, ""), mixture), facts)


def fits(name: str, actual: tuple[int, ...], wanted: Shape) -> bool:
    if len(actual) == len(wanted) + 1 and _OF_EXPERTS.fullmatch(name):
        actual = actual[1:]
    ways = (actual, actual[::-1]) if _STACK.fullmatch(name) else (actual,)
    if len(actual) == 3:  # a convolution's last axes, which MLX exchanges
        ways = (*ways, (actual[0], actual[2], actual[1]))
    return len(actual) == len(wanted) and any(
        all(w in (None, a) for w, a in zip(wanted, way, strict=True)) for way in ways
    )


@frozen
class Tree:
    """A text model, asked for the shapes of its tensors."""

    model_type: str
    fields: Mapping[str, Any]
    uniform: bool
    known: bool
    vision: Mapping[str, Any]

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Tree:
        entry, fields = architecture_for(config), text_fields(config)
        named = text_type(fields, entry.model_type)
        known = entry.standing is Standing.CONVERTIBLE or is_written_out(named)
        vision = config.get("vision_config")
        seen = vision if isinstance(vision, Mapping) else {}
        return cls(named, fields, entry.uniform, known, seen)

    def shape(self, name: str) -> Shape | None:
        """(out, in) as config.json has it, or a norm's size; None if it does not say."""
        found = self._in_uniform(name) if self.uniform else None
        module = _IN_LAYER.fullmatch(name) if found is None else None
        if module and (module["bare"] is None or _STACK.fullmatch(name)):
            found = module_shape(self.fields, self.model_type, module["path"])
        leaf = name.removesuffix(".weight").rpartition(".")[2]
        if found is None and leaf in _OF_TOKENS:
            width = positive(self.fields, "hidden_size") or positive(self.fields, "n_embd")
            found = positive(self.fields, "vocab_size"), width
        if found is None and self.vision:
            found = tower_shape(self.vision, name)
        return found if found is not None and any(found) else None

    def _in_uniform(self, name: str) -> Shape | None:
        known = _UNIFORM.fullmatch(name)
        leaf = (known[1] or known[2]) if known else ""
        if leaf in _NORMS:
            return (positive(self.fields, "hidden_size"),)
        if leaf in LEAVES and not tells_attention(self.fields, leaf):
            own = _OWN_HEAD_SIZE.match(self.model_type)
            if own and positive(self.fields, "head_dim") is None:
                return None
        turned = expected_shape(self.fields, leaf)
        return None if turned is None else turned[::-1]


RULES = (
    Rule("CF010", "config-shape-mismatch", Severity.ERROR, "is {actual}, by config.json {wanted}",
         "copy config.json that was written with these weights", _shapes, Need.MODEL,
         frozenset({Kind.FUSED})),
)  # fmt: skip
