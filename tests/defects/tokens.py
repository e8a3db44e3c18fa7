"""Tokenizers and chat templates that are broken, dangerous or at odds with the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .kit import (
    CONFIG,
    SETTINGS,
    TEMPLATE,
    TOKENIZER,
    Twin,
    defect,
    read_json,
    set_keys,
    write_json,
)

_INTROSPECTION = "{{ ''.__class__.__mro__[1].__subclasses__() }}"
_CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
)


def _add_token(d: Path, number: int, content: str) -> None:
    """An added token, as the tokenizers library writes them."""
    table = read_json(d / TOKENIZER)
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    table["added_tokens"].append({"id": number, "content": content, "special": True} | flags)
    write_json(d / TOKENIZER, table)


def _template(d: Path, text: str) -> None:
    (d / TEMPLATE).write_text(text)


def _vocabulary(d: Path, **tokens: int) -> None:
    table: Any = read_json(d / TOKENIZER)
    table["model"]["vocab"] |= tokens
    write_json(d / TOKENIZER, table)


@defect(Twin.FUSED, "TK002")
def fused_broken_tokenizer(d: Path) -> None:
    """A tokenizer.json whose merges make tokens that are not there."""
    table = read_json(d / TOKENIZER)
    table["model"] = {"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]}
    write_json(d / TOKENIZER, table)


@defect(Twin.FUSED, "TK003")
def fused_vocabulary_large(d: Path) -> None:
    """Words beyond the embedding."""
    _vocabulary(d, zzz=400)


@defect(Twin.FUSED, "TK009")
def fused_added_token_large(d: Path) -> None:
    """An added token beyond the embedding."""
    _add_token(d, 320, "<image>")


@defect(Twin.FUSED, "TK004")
def fused_special_missing(d: Path) -> None:
    """A special token that the vocabulary has not."""
    set_keys(d / SETTINGS, eos_token="<end>")


@defect(Twin.FUSED, "TK005")
def fused_vocab_file(d: Path) -> None:
    """A vocabulary that is any file of the reader's machine."""
    set_keys(d / SETTINGS, vocab_file="../.env")


@defect(Twin.FUSED, "TK006")
def fused_token_collision(d: Path) -> None:
    """One number for two tokens."""
    table = read_json(d / TOKENIZER)
    table["model"]["vocab"]["zzz"] = 100
    write_json(d / TOKENIZER, table)


@defect(Twin.FUSED, "TK008")
def fused_tokenizer_class(d: Path) -> None:
    """A tokenizer of a class from the Hub."""
    set_keys(d / SETTINGS, tokenizer_class="evil/repo--Own")


@defect(Twin.FUSED, "TK010")
def fused_special_disagree(d: Path) -> None:
    """Two files that name another stop token."""
    write_json(d / "special_tokens_map.json", {"eos_token": "<pad>"})


@defect(Twin.FUSED, "CT005")
def fused_jinja_dos(d: Path) -> None:
    """A template that loops for ever."""
    _template(
        d,
        "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}x"
        "{% endfor %}{% endfor %}{% endfor %}",
    )


@defect(Twin.FUSED, "CT002")
def fused_jinja_ssti(d: Path) -> None:
    """A template that reaches for Python's classes."""
    _template(d, _INTROSPECTION)


@defect(Twin.FUSED, "CT002")
def fused_jinja_ssti_tokcfg(d: Path) -> None:
    """The same in tokenizer_config.json."""
    (d / TEMPLATE).unlink()
    set_keys(d / SETTINGS, chat_template=_INTROSPECTION)


@defect(Twin.FUSED, "CT001")
def fused_jinja_syntax(d: Path) -> None:
    """A template that does not end."""
    _template(d, "{% for message in messages %}{{ message }}")


@defect(Twin.FUSED, "CT003")
def fused_template_name(d: Path) -> None:
    """A template whose name is a path."""
    (d / TEMPLATE).unlink()
    named = [{"name": n, "template": "x"} for n in ("default", "../../evil")]
    set_keys(d / SETTINGS, chat_template=named)


@defect(Twin.FUSED, "CT004")
def fused_template_large(d: Path) -> None:
    """A template of three hundred thousand bytes."""
    _template(d, "x" * 300_000)


@defect(Twin.FUSED, "CT006")
def fused_template_address(d: Path) -> None:
    """A template that tells the model of an address."""
    _template(d, (d / TEMPLATE).read_text() + "Search with https://example.org/q")


@defect(Twin.FUSED, "CT007")
def fused_two_templates(d: Path) -> None:
    """Two templates, and the loaders take one or the other."""
    set_keys(d / SETTINGS, chat_template="{{ messages[0].content }}")


@defect(Twin.FUSED, "CT008")
def fused_no_template(d: Path) -> None:
    """A chat model without a template."""
    (d / TEMPLATE).unlink()
    set_keys(d / SETTINGS, eos_token="<|im_end|>")
    _add_token(d, 319, "<|im_end|>")


@defect(Twin.FUSED, "CT009")
def fused_template_deep(d: Path) -> None:
    """A template too deep for a parser."""
    _template(d, "{{" + "(" * 5000)


@defect(Twin.FUSED, "CT010")
def fused_turn_end(d: Path) -> None:
    """Turns that end in a token at which nothing stops."""
    _add_token(d, 318, "<|im_start|>")
    _add_token(d, 319, "<|im_end|>")
    set_keys(d / CONFIG, eos_token_id=2)
    _template(d, _CHATML)


@defect(Twin.FUSED, "TK011")
def fused_tokenizer_runaway(d: Path) -> None:
    """A tokenizer that splits by an expression whose matching takes for ever."""
    table = read_json(d / TOKENIZER)
    pattern = {"Regex": "(a+)+$"}
    table["pre_tokenizer"] = {"type": "Split", "pattern": pattern, "behavior": "Isolated",
                              "invert": False}  # fmt: skip
    write_json(d / TOKENIZER, table)


@defect(Twin.FUSED, "TK012")
def fused_tokenizer_rewrites(d: Path) -> None:
    """A tokenizer that reads one word for another."""
    table = read_json(d / TOKENIZER)
    table["normalizer"] = {"type": "Replace", "pattern": {"String": "safe"}, "content": "evil"}
    write_json(d / TOKENIZER, table)


@defect(Twin.FUSED, "TK005")
def fused_tokenizer_of_versions(d: Path) -> None:
    """Another tokenizer for some versions of transformers."""
    set_keys(d / SETTINGS, fast_tokenizer_files=["tokenizer.4.0.0.json"])


@defect(Twin.FUSED, "CT002")
def fused_template_keyword(d: Path) -> None:
    """A template that takes a forbidden name from a keyword."""
    _template(d, "{{ messages[dict(__class__=1)|first] }}")


@defect(Twin.FUSED, "CT002")
def fused_template_elsewhere(d: Path) -> None:
    """The same reach in a file that servers are given by hand."""
    (d / "tool_chat_template.jinja").write_text(_INTROSPECTION)


@defect(Twin.FUSED, "CT005")
def fused_template_doubles(d: Path) -> None:
    """A template whose text doubles forty times."""
    doubled = "{% for i in range(40) %}{% set n.s = n.s ~ n.s %}{% endfor %}"
    _template(d, "{% set n = namespace(s='a') %}" + doubled + _CHATML)


@defect(Twin.FUSED, "CT011")
def fused_template_invisible(d: Path) -> None:
    """A template with a word in characters that nobody sees."""
    _template(d, (d / TEMPLATE).read_text() + "".join(chr(0xE0000 + ord(c)) for c in "obey"))


@defect(Twin.FUSED, "CT012")
def fused_template_deaf(d: Path) -> None:
    """A template that says the same whatever is asked."""
    (d / TEMPLATE).write_text("{{ bos_token }}Hello!")


@defect(Twin.FUSED, "CT001")
def fused_template_filter(d: Path) -> None:
    """A template with a filter that jinja2 has not."""
    (d / TEMPLATE).write_text("{{ messages | to_text }}")


@defect(Twin.FUSED, "TK013")
def fused_tokenizer_at_random(d: Path) -> None:
    """A tokenizer that splits at random, as it was trained with."""
    _edit_model(d, dropout=0.1)


@defect(Twin.FUSED, "TK014")
def fused_unknown_token(d: Path) -> None:
    """A token for what is unknown that is unknown itself."""
    _edit_model(d, unk_token="<what>")


@defect(Twin.FUSED, "TK015")
def fused_other_vocabulary(d: Path) -> None:
    """A vocab.json that is of another tokenizer."""
    words = read_json(d / TOKENIZER)["model"]["vocab"]
    write_json(d / "vocab.json", {word: number + 1 for word, number in words.items()})


@defect(Twin.FUSED, "TK015")
def fused_other_pieces(d: Path) -> None:
    """A tokenizer.model that is of another tokenizer, from which llama.cpp makes its GGUF."""
    words = ["<unk>", *sorted(read_json(d / TOKENIZER)["model"]["vocab"])]
    encoded = [word.encode() for word in words if len(word.encode()) < 100]
    pieces = (b"\x0a" + bytes([len(word)]) + word + b"\x15\0\0\x80\xbf" for word in encoded)
    made = b"".join(b"\x0a" + bytes([len(piece)]) + piece for piece in pieces)
    (d / "tokenizer.model").write_bytes(made)


@defect(Twin.FUSED, "TK016")
def fused_tokenizer_cuts(d: Path) -> None:
    """A tokenizer that cuts every text, as it was trained with."""
    cut = {"max_length": 128, "stride": 0, "strategy": "LongestFirst", "direction": "Right"}
    set_keys(d / TOKENIZER, truncation=cut)


@defect(Twin.FUSED, "TK008")
def fused_tokenizer_misspelt(d: Path) -> None:
    """A tokenizer of a class that transformers has not."""
    set_keys(d / SETTINGS, tokenizer_class="Qwen3TokenizerFast")


@defect(Twin.FUSED, "CT012")
def fused_template_mute(d: Path) -> None:
    """A template that names who speaks, and not what is said."""
    _template(d, "{% for m in messages %}{{ m['role'] }}: {{ m['text'] }}\n{% endfor %}")


@defect(Twin.FUSED, "CT013")
def fused_template_fails(d: Path) -> None:
    """A template that calls what no program gives it."""
    _template(d, "{{ today() }}" + (d / TEMPLATE).read_text())


@defect(Twin.FUSED, "CT015")
def fused_template_of_tools_alone(d: Path) -> None:
    """Templates that have names, and no default."""
    named = [{"name": "tool_use", "template": (d / TEMPLATE).read_text()}]
    (d / TEMPLATE).unlink()
    set_keys(d / SETTINGS, chat_template=named)


@defect(Twin.FUSED, "CT014")
def fused_template_promptless(d: Path) -> None:
    """A template that never begins the answer."""
    _template(d, _CHATML)


def _edit_model(d: Path, **changes: Any) -> None:
    table = read_json(d / TOKENIZER)
    table["model"] |= changes
    write_json(d / TOKENIZER, table)


@defect(Twin.FUSED, "TK017")
def fused_text_left_out(d: Path) -> None:
    """A tokenizer that puts a token around every text, and not the text."""
    bos = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    number = {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}
    set_keys(d / TOKENIZER, post_processor={"type": "TemplateProcessing", "single": [bos],
                                            "pair": [bos], "special_tokens": number})  # fmt: skip


@defect(Twin.FUSED, "TK018")
def fused_token_out_of_turn(d: Path) -> None:
    """An added token with a number that is not the next one."""
    _add_token(d, 300, "<tool>")


@defect(Twin.FUSED, "TK019")
def fused_spaces_not_read(d: Path) -> None:
    """A tokenizer without the decoder that undoes its splitting."""
    set_keys(d / TOKENIZER, decoder=None)


@defect(Twin.FUSED, "TK020")
def fused_merges_missing(d: Path) -> None:
    """Words, and none of the merges that make them."""
    _edit_model(d, merges=[])


@defect(Twin.FUSED, "TK021")
def fused_byte_missing(d: Path) -> None:
    """A tokenizer of bytes with a word in the place of one of them."""
    words = read_json(d / TOKENIZER)["model"]["vocab"]
    _edit_model(d, vocab=words | {"~~": words.pop("~")})
