"""Examples for the rules on tokenizers and chat templates."""

from __future__ import annotations

from typing import Any

from tests.builders import FUSED_SPECS, TOKENIZER, encode, fused_files
from tests.unit.subjects import Build, of
from weighbridge.domain.models import Kind
from weighbridge.domain.templates import LARGE_TEMPLATE, MAX_TEMPLATE
from weighbridge.domain.tokenizer import TokenizerView

CHATML = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
PROMPT = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
GOOD = of(fused_files())
TURNS = TOKENIZER | {
    "added_tokens": [{"id": 3, "content": "</s>"}, {"id": 4, "content": "<|im_end|>"}]
}


def fused(config: dict[str, Any] | None = None, **more: Any) -> Build:
    """A fused model with other documents; ``tokenizer`` is short for tokenizer.json and so on."""
    names = {"settings": "tokenizer_config", "generation": "generation_config"}
    written = {f"{names.get(k, k)}.json": encode(v) for k, v in more.items()}
    return of(fused_files(**(config or {})) | written)


def vocabulary(*tokens: str, added: tuple[tuple[int, str], ...] = ()) -> dict[str, Any]:
    listed = [{"id": number, "content": content} for number, content in added]
    return {"model": {"type": "WordLevel", "vocab": {t: i for i, t in enumerate(tokens)}},
            "added_tokens": listed}  # fmt: skip


#: How cl100k splits, which many published tokenizers took over.
GPT4 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def splitting(expression: str) -> dict[str, Any]:
    """A tokenizer that splits by that expression, within a sequence."""
    split = {"type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated"}
    return TOKENIZER | {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [split]}}


def replacing(content: str) -> dict[str, Any]:
    """A tokenizer that writes ``content`` for every space."""
    return TOKENIZER | {"normalizer": {"type": "Replace", "pattern": {"String": " "},
                                       "content": content}}  # fmt: skip


def framing(*single: dict[str, Any]) -> dict[str, Any]:
    """A tokenizer that puts such pieces around every text."""
    number = {"<s>": {"id": "<s>", "ids": [3], "tokens": ["</s>"]}}
    return TOKENIZER | {"post_processor": {"type": "TemplateProcessing", "single": list(single),
                                           "special_tokens": number}}  # fmt: skip


TEXT, START, STOP = (
    {"Sequence": {"id": "A"}},
    *({"SpecialToken": {"id": token}} for token in ("<s>", "</s>")),
)
BYTES = {"type": "ByteLevel"}


def modelled(**more: Any) -> dict[str, Any]:
    return TOKENIZER | {"model": TOKENIZER["model"] | more}


def jinja(text: str, path: str = "chat_template.jinja", **more: Any) -> Build:
    return of(fused_files(**more) | {path: text.encode()})


def beside(text: str, other: str) -> Build:
    more = {"tokenizer_config.json": encode({"chat_template": other})}
    return of(fused_files() | {"chat_template.jinja": text.encode()} | more)


def without_tokenizer() -> Build:
    files = fused_files()
    del files["tokenizer.json"]
    return of(files)


EIGHT = tuple("abcdefgh")  # as many as the embedding of the builders has rows
assert FUSED_SPECS[0].shape[0] == len(EIGHT)
BASE_VIEW = TokenizerView.of(vocabulary("b", "a"))

EXAMPLES: dict[str, tuple[Build, Build]] = {
    "TK001": (without_tokenizer(), GOOD),
    "TK002": (
        fused(tokenizer=TOKENIZER | {"model": {"vocab": {"a": 0}, "merges": ["a b"]}}),
        fused(tokenizer=vocabulary("a")),
    ),
    "TK003": (
        fused(tokenizer=vocabulary(*EIGHT, "i")),
        fused(tokenizer=vocabulary(*EIGHT, added=((8, "<image>"),))),
    ),
    "TK004": (fused(settings={"eos_token": "<end>"}), fused(settings={"eos_token": "</s>"})),
    "TK005": (fused(settings={"vocab_file": ".env"}), fused(settings={"vocab_file": None})),
    "TK006": (
        fused(tokenizer=vocabulary("a", "b", added=((1, "c"),))),
        fused(tokenizer=vocabulary("a", "b", added=((1, "b"),))),
    ),
    "TK007": (
        of(fused_files(), base_tokenizer=BASE_VIEW),
        of(fused_files(), base_tokenizer=TokenizerView.of(TOKENIZER)),
    ),
    "TK008": (
        fused(settings={"tokenizer_class": "org/repo--Mine"}),
        fused(settings={"tokenizer_class": "PreTrainedTokenizerFast"}),
    ),
    "TK009": (
        fused(tokenizer=vocabulary(*EIGHT, added=((8, "<image>"),))),
        fused(tokenizer=vocabulary(*EIGHT[:7], added=((7, "<image>"),))),
    ),
    "TK010": (
        fused(settings={"eos_token": "</s>"}, special_tokens_map={"eos_token": "a"}),
        fused(settings={"eos_token": "</s>"}, special_tokens_map={"eos_token": "</s>"}),
    ),
    "TK011": (fused(tokenizer=splitting(r"(a+)+$")), fused(tokenizer=splitting(GPT4))),
    "TK012": (fused(tokenizer=replacing("evil")), fused(tokenizer=replacing("\u2581"))),
    "TK013": (fused(tokenizer=modelled(dropout=0.1)), fused(tokenizer=modelled(dropout=None))),
    "TK014": (fused(tokenizer=modelled(unk_token="?")), fused(tokenizer=modelled(unk_token="a"))),
    "TK015": (
        fused(vocab={"a": 1, "b": 0}, added_tokens={"</s>": 3}),
        fused(vocab={"a": 0, "b": 1, "ab": 2}, added_tokens={"</s>": 3, "<new>": 4}),
    ),
    "TK016": (
        fused(tokenizer=TOKENIZER | {"truncation": {"max_length": 128, "stride": 0}}),
        fused(tokenizer=TOKENIZER | {"truncation": None, "padding": None}),
    ),
    "TK017": (fused(tokenizer=framing(STOP, TEXT)), fused(tokenizer=framing(START, TEXT))),
    "TK018": (
        fused(tokenizer=vocabulary("a", "b", added=((3, "</s>"),))),
        fused(tokenizer=vocabulary("a", "b", added=((2, "</s>"), (0, "a"), (3, "<s>")))),
    ),
    "TK019": (
        fused(tokenizer=TOKENIZER | {"pre_tokenizer": BYTES, "decoder": None}),
        fused(tokenizer=TOKENIZER | {"pre_tokenizer": BYTES, "decoder": BYTES}),
    ),
    "TK020": (
        fused(tokenizer=modelled(merges=[])),
        fused(tokenizer=modelled(merges=[], ignore_merges=True)),
    ),
    "TK021": (fused(tokenizer=modelled(byte_fallback=True)), GOOD),
    "CT012": (jinja("hello"), jinja(CHATML)),
    "CT013": (
        jinja(CHATML + "{{ raise_exception('no tools') }}"),
        jinja(CHATML + "{% if tools %}{{ raise_exception('no tools') }}{% endif %}"),
    ),
    "CT015": (
        fused(settings={"chat_template": [{"name": "tool_use", "template": CHATML}]}),
        fused(settings={"chat_template": [{"name": n, "template": CHATML}
                                          for n in ("tool_use", "default")]}),
    ),
    "CT014": (jinja(CHATML), jinja(CHATML + PROMPT)),
    "CT011": (jinja("x\U000e0041"), jinja("x\u200c\U0001f600")),
    "CF014": (
        fused({"eos_token_id": 3}, generation={"eos_token_id": [1, 2]}),
        fused({"eos_token_id": 3}, generation={"eos_token_id": [1, 3]},
              settings={"eos_token": "</s>"}),
    ),
    "CT001": (
        jinja("{% for m in messages %}"),
        jinja("{% generation %}{% for m in x %}{% break %}{% endfor %}{% endgeneration %}"),
    ),
    "CT002": (jinja("{{ x['__cl' ~ 'ass__'] }}"), jinja("{{ x['role'] ~ '__' }}")),
    "CT003": (
        fused(settings={"chat_template": [{"name": "../../x", "template": "a"}]}),
        fused(settings={"chat_template": {"default": "a", "tool_use": "b"}}),
    ),
    "CT004": (jinja("x" * (LARGE_TEMPLATE + 1)), jinja("x" * LARGE_TEMPLATE)),
    "CT005": (
        jinja("{% for i in range(999) %}{% for j in range(999) %}x{% endfor %}{% endfor %}"),
        jinja("{% for i in range(messages | length) %}x{% endfor %}"),
    ),
    "CT006": (jinja("Search with https://example.org/q"), jinja(CHATML)),
    "CT007": (beside("a", "b"), beside("a\n", "a")),
    "CT008": (
        fused(settings={"eos_token": "<|im_end|>"}),
        fused(settings={"eos_token": "<|im_end|>", "chat_template": CHATML}),
    ),
    "CT009": (jinja("{{" + "(" * 5000), jinja("x" * MAX_TEMPLATE)),
    "CT010": (
        of(fused_files(eos_token_id=3) | {"tokenizer.json": encode(TURNS),
                                          "chat_template.jinja": CHATML.encode()}),
        of(fused_files(eos_token_id=[3, 4]) | {"tokenizer.json": encode(TURNS),
                                               "chat_template.jinja": CHATML.encode()}),
    ),
}  # fmt: skip
assert Kind.FUSED is GOOD().kind
