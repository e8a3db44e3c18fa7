"""What llama.cpp makes of the LoRA on each module: names, exchanged rows, stacked experts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from attrs import field, frozen

from weighbridge.domain.gguf.names import ExpertNames, GgufArchitecture, text_parameters
from weighbridge.domain.gguf.order import Exchange, Indices, NoOrder, exchange_of
from weighbridge.domain.tensors import TensorSpec

WAY_OUT = "fuse the model (mlx_lm.fuse) and convert that with llama.cpp"
_EXPERT_COUNTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
_VOCABULARY = ("token_embd.weight", "output.weight")

#: llama.cpp's name of a weight that transformers calls so, or None: the package ``gguf`` knows.
FindName: TypeAlias = Callable[[str], str | None]


@frozen
class GgufTensor:
    """One tensor to be written, as float32 unless another type is asked for.

    ``shape`` is that of the file in row-major order. Each source is a matrix; several are stacked.
    ``order`` picks rows of the source (columns if ``columns``); ``transposed`` exchanges its axes.
    """

    name: str
    shape: tuple[int, ...]
    sources: tuple[TensorSpec, ...]
    order: Indices | None = field(default=None, repr=False)
    columns: bool = False
    transposed: bool = False


@frozen
class LoraPair:
    """Both factors of one module: ``a`` is (r, inputs) and ``b`` (outputs, r)."""

    module: str
    embedding: bool
    a: TensorSpec
    b: TensorSpec

    @property
    def text_module(self) -> str:
        """The module's path in the text model alone, which is what llama.cpp's names are for."""
        return self.module.replace("language_model.", "")


@frozen
class TensorPlanner:
    """Turns pairs into tensors. What is impossible is appended to ``reasons``, and left out."""

    architecture: GgufArchitecture
    config: Mapping[str, Any]
    find_name: FindName
    reasons: list[str]

    def tensors(self, pairs: Sequence[LoraPair]) -> Iterator[GgufTensor]:
        """In the order of llama.cpp's converter: as found, experts once a layer's are complete."""
        experts = self.architecture.experts
        layers = _ExpertLayers.of(experts, pairs) if experts else None
        for pair in pairs:
            if layers is None or not layers.holds(pair):
                yield from self._single(pair)
                continue
            for merged, stack in layers.completed_by(pair):
                yield from self._stack(merged, stack)

    def _single(self, pair: LoraPair) -> Iterator[GgufTensor]:
        name = self.find_name(f"{pair.text_module}.weight")
        reason = self._name_reason(pair, name)
        if reason is not None:
            self.reasons.append(f"{pair.module}: {reason}")
        elif pair.embedding:
            # llama.cpp looks up rows of A, so it wants one for each token
            yield GgufTensor(f"{name}.lora_a", pair.a.shape[::-1], (pair.a,), transposed=True)
            yield GgufTensor(f"{name}.lora_b", pair.b.shape, (pair.b,))
        else:
            found = self._exchange(pair)
            yield GgufTensor(f"{name}.lora_a", pair.a.shape, (pair.a,), found.columns, True)
            yield GgufTensor(f"{name}.lora_b", pair.b.shape, (pair.b,), found.rows)

    def _name_reason(self, pair: LoraPair, name: str | None) -> str | None:
        if name is None:
            return f"llama.cpp has no such tensor for {self.architecture.name}; {WAY_OUT}"
        if name in self.architecture.unapplied:
            return f"llama.cpp loads a LoRA on it and does not apply it; {WAY_OUT}"
        if pair.embedding != (name == "token_embd.weight"):
            return "llama.cpp takes the form of an embedding's LoRA for the token embedding only"
        if name in _VOCABULARY and self._tied():
            return (
                "embedding and head are one tensor, to which llama.cpp cannot apply a LoRA; "
                + WAY_OUT
            )
        return None

    def _exchange(self, pair: LoraPair) -> Exchange:
        parameters = text_parameters(self.config)
        order, module = self.architecture.order, pair.text_module
        try:
            return exchange_of(order, module, parameters, pair.b.shape[0], pair.a.shape[1])
        except NoOrder as error:
            self.reasons.append(f"{pair.module}: {error}")
            return Exchange()

    def _tied(self) -> bool:
        for part in (self.config, self.config.get("text_config")):
            if isinstance(part, Mapping) and isinstance(part.get("tie_word_embeddings"), bool):
                return bool(part["tie_word_embeddings"])
        return self.architecture.tied

    def _stack(self, merged: str, stack: Mapping[int, LoraPair]) -> Iterator[GgufTensor]:
        pairs = [stack[expert] for expert in sorted(stack)]
        a, b = tuple(p.a for p in pairs), tuple(p.b for p in pairs)
        name, count = self.find_name(f"{merged}.weight"), self._expert_count()
        if name is None:
            self.reasons.append(f"{merged}: llama.cpp has no such tensor; {WAY_OUT}")
        elif sorted(stack) != list(range(count)):
            self.reasons.append(
                f"{merged}: holds a LoRA on {len(stack)} of {count} experts; llama.cpp needs one "
                "on each, with zeros where nothing was trained"
            )
        elif len({s.shape for s in a}) > 1 or len({s.shape for s in b}) > 1:
            self.reasons.append(f"{merged}: the experts have different shapes")
        else:
            yield GgufTensor(f"{name}.lora_a", (len(a), *a[0].shape), a)
            yield GgufTensor(f"{name}.lora_b", (len(b), *b[0].shape), b)

    def _expert_count(self) -> int:
        parameters = text_parameters(self.config)
        found = (parameters.get(key) for key in _EXPERT_COUNTS)
        return next((n for n in found if type(n) is int), 0)


class _ExpertLayers:
    """The pairs of single experts, by layer and part."""

    def __init__(self, names: ExpertNames) -> None:
        self._names = names
        self._stacks: dict[str, dict[str, dict[int, LoraPair]]] = {}
        self._last: dict[str, LoraPair] = {}

    @classmethod
    def of(cls, names: ExpertNames, pairs: Sequence[LoraPair]) -> _ExpertLayers:
        """Those that are named as experts."""
        made = cls(names)
        for pair in pairs:
            if found := made._match(pair):
                layer, expert, part = found.groups()
                stacks = made._stacks.setdefault(layer, {})
                stacks.setdefault(part, {})[int(expert)] = pair
                made._last[layer] = pair
        return made

    def _match(self, pair: LoraPair) -> re.Match[str] | None:
        return self._names.pattern.fullmatch(pair.text_module)

    def holds(self, pair: LoraPair) -> bool:
        """True if the pair is an expert's."""
        return self._match(pair) is not None

    def completed_by(self, pair: LoraPair) -> Iterator[tuple[str, Mapping[int, LoraPair]]]:
        """The stacks of the pair's layer if it is the last of them, in the converter's order."""
        found = self._match(pair)
        if found is None or self._last[found[1]] is not pair:
            return
        for part in self._names.parts:
            if stack := self._stacks[found[1]].get(part):
                yield self._names.merged.format(found[1], part), stack
