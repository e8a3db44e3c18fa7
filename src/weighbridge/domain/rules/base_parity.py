"""CF030 and on: config.json as mlx-lm takes it against config.json as transformers takes it.

Judges a fused model or a base by its own config, and a LoRA or PEFT adapter by its base's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from weighbridge.domain.config_parity import Cause, Divergence, divergences
from weighbridge.domain.findings import Fact, Location, Need, Observation, Rule, Severity, Subject
from weighbridge.domain.models import FusedModel, Kind
from weighbridge.domain.rules.whole_model import text_fields

_OWN, _BASES = "config.json", "config.json of the base"
_BIAS = ("e_score_correction_bias", "moe_statics")


def _config(subject: Subject) -> tuple[str, Mapping[str, object]]:
    """The place and the fields of the config that the model is built from."""
    if isinstance(subject.model, FusedModel):
        return _OWN, subject.model.config
    return _BASES, subject.base_config or {}


def _observations(
    cause: Cause, why: str, *, fixed: bool | None = None
) -> Callable[[Subject], Iterator[Observation]]:
    """A check for one cause; with ``fixed``, only for what a line of config.json does (not) fix."""

    def check(subject: Subject) -> Iterator[Observation]:
        path, config = _config(subject)
        for seen in divergences(config):
            if seen.cause is cause and fixed in (None, bool(seen.line)):
                facts = {"mlx": seen.mlx, "transformers": seen.transformers, "line": seen.line}
                yield Observation(Location(path, seen.where), facts)

    check.__doc__ = why
    return check


def _built_in(subject: Subject) -> Iterator[Observation]:
    """No setting makes mlx-lm's model compute what transformers computes, so a LoRA that is trained
    on the one is served on another."""
    path, config = _config(subject)
    for seen in divergences(config):
        if seen.cause is Cause.BUILT_IN and not _harmless(seen, subject):
            facts = {"mlx": seen.mlx, "transformers": seen.transformers}
            yield Observation(Location(path, seen.where), facts)


def _harmless(seen: Divergence, subject: Subject) -> bool:
    """True if the weights show that what mlx-lm drops is nothing."""
    model = subject.model
    if not isinstance(model, FusedModel) or seen.where != "moe_use_aux_free":
        return False
    names = [t.name for t in model.tensors if any(part in t.name for part in _BIAS)]
    stats = [subject.survey.stats(path, name) for path in model.weights_paths for name in names
             ] if subject.survey else []  # fmt: skip
    known = [s for s in stats if s is not None]
    return len(known) == len(names) and all(s.zero for s in known)


#: Numbers and words that training leaves as they are, and that no tensor shows.
_OF_THE_FUNCTION = (
    "attention_multiplier", "attn_logit_softcapping", "embedding_multiplier",
    "final_logit_softcapping", "hidden_act", "hidden_activation", "layer_norm_eps",
    "layer_norm_epsilon", "logits_scaling", "norm_eps", "norm_topk_prob", "num_experts_per_tok",
    "partial_rotary_factor", "query_pre_attn_scalar", "residual_multiplier", "rms_norm_eps",
    "rope_scaling", "rope_theta", "routed_scaling_factor", "sliding_window",
)  # fmt: skip


def _other_function(subject: Subject) -> Iterator[Observation]:
    """No tensor shows these, so that nothing fails: the weights answer as they were never trained
    to. Who changed one on purpose, as for a longer context, ignores the rule."""
    own, base = text_fields(subject.fused.config), text_fields(subject.base_config or {})
    for key in _OF_THE_FUNCTION:
        held, wanted = _plain(own.get(key)), _plain(base.get(key))
        if None not in (held, wanted) and held != wanted:
            facts: dict[str, Fact] = {"own": str(held)[:80], "base": str(wanted)[:80]}
            yield Observation(Location(_OWN, key), facts)


def _plain(value: object) -> object:
    """Without what transformers 5 calls otherwise in a block for RoPE."""
    if not isinstance(value, dict):
        return value
    return {k: v for k, v in value.items() if k not in ("type", "rope_type", "rope_theta")}


def _seen_in_base(subject: Subject) -> Iterator[Observation]:
    """Who trains or serves on this base with MLX has another model than transformers makes of it,
    or none. An adapter that was trained elsewhere is not to blame."""
    path, config = _config(subject)
    trained_here = subject.kind is Kind.LORA
    for seen in divergences(config):
        # What a LoRA of mlx-lm's learnt on is judged by the rules before.
        if not trained_here or seen.cause is Cause.MISSING:
            yield Observation(Location(path, seen.where), {"what": str(seen)})


_ADD = (
    "add that line to config.json at the place named, before training; both stacks read it there. "
    "If training had it, give the directory that was trained on as --base"
)
_BOTH = "mlx-lm {mlx}, transformers {transformers}; add {line}"
_FUSED, _TRAINED = frozenset({Kind.FUSED}), frozenset({Kind.FUSED, Kind.LORA})
_E, _W = Severity.ERROR, Severity.WARNING
RULES = (
    Rule("CF030", "rope-base-differs", _E, _BOTH, _ADD,
         _observations(Cause.ROPE_BASE, "With another base RoPE places tokens elsewhere: the two "
                       "stacks compute different models, and neither says so."),
         Need.CONFIG, _TRAINED),
    Rule("CF031", "rope-scaling-differs", _E, _BOTH, _ADD,
         _observations(Cause.ROPE_SCALING, "transformers 5 keeps the scaling in rope_parameters, "
                       "where most models of mlx-lm do not look: they scale nothing."),
         Need.CONFIG, _TRAINED),
    Rule("CF032", "rotary-part-differs", _E, _BOTH, _ADD,
         _observations(Cause.ROTARY_PART, "RoPE turns another part of each head in the other "
                       "stack, so that attention is another."), Need.CONFIG, _TRAINED),
    Rule("CF033", "mlx-field-unwritten", _E, _BOTH,
         "add that line to config.json at the place named, before training",
         _observations(Cause.MISSING, "mlx-lm refuses to build the model, or builds it in a size "
                       "that the weights do not have.", fixed=True), Need.CONFIG, _FUSED),
    Rule("CF034", "mlx-field-missing", _E, "mlx-lm {mlx}, transformers {transformers}",
         "take the value from the config.json that the model was first published with",
         _observations(Cause.MISSING, "mlx-lm refuses to build the model, and nothing else in the "
                       "config tells the value.", fixed=False), Need.CONFIG, _FUSED),
    Rule("CF035", "tied-head-differs", _E, _BOTH, _ADD,
         _observations(Cause.TIED_HEAD, "One stack computes logits with the embedding, the other "
                       "with a head of its own, which may be random."), Need.CONFIG, _TRAINED),
    Rule("CF036", "layer-pattern-differs", _E, _BOTH, _ADD,
         _observations(Cause.LAYER_PATTERN, "A layer attends to all tokens in one stack and to a "
                       "window, or by a recurrence, in the other."), Need.CONFIG, _TRAINED),
    Rule("CF037", "mlx-computes-otherwise", _W, "mlx-lm {mlx}, transformers {transformers}",
         "compare both stacks' answers before training (verify --require-proof logits), or serve "
         "the fused model with MLX", _built_in, Need.CONFIG, _TRAINED),
    Rule("CF038", "base-read-differently", _W, "{what}",
         "tell those who use MLX, or correct the base's config.json", _seen_in_base, Need.CONFIG,
         frozenset({Kind.LORA, Kind.PEFT})),
    Rule("CF039", "function-differs-from-base", _W, "is {own}, in the base {base}",
         "copy the line from the base model's config.json", _other_function, Need.BASE,
         frozenset({Kind.FUSED})),
)  # fmt: skip
