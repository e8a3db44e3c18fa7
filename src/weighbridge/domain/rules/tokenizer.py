"""TK: the tokenizer, against itself, the embedding and what the configs say of its tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import chain, islice
from operator import itemgetter

from weighbridge.domain.contents import texts_in
from weighbridge.domain.findings import Fact, Location, Need, Observation, Rule, Severity, Subject
from weighbridge.domain.models import FusedModel, Kind
from weighbridge.domain.rules.whole_model import embedding_rows
from weighbridge.domain.sentencepiece import pieces_problem
from weighbridge.domain.tokenizer import (
    PIECES,
    SPECIAL_TOKENS,
    TOKENIZER,
    TOKENIZER_CONFIG,
    TOKENIZER_FILES,
    TokenizerView,
    structure_problems,
    unknown_merge,
)
from weighbridge.domain.tokenizer_steps import written_specials

_MOST_SHOWN = 8


def _missing(subject: Subject) -> Iterator[Observation]:
    """mlx-lm and transformers load the tokenizer from the same directory, and fail without one."""
    if not TOKENIZER_FILES & subject.artifact.paths and isinstance(subject.model, FusedModel):
        yield Observation(Location())


def _broken(subject: Subject) -> Iterator[Observation]:
    """Loaders fail on it, or encode text as other tokens than the model learnt."""
    document, build = subject.artifact.document(TOKENIZER), subject.tokenizer_build
    raw = subject.tokenizer_files.get(PIECES)
    if raw is not None and (problem := pieces_problem(raw)):
        yield Observation(Location(PIECES), {"problem": problem})
    if document is None or document.problem is not None:
        return
    problems = list(structure_problems(document.object))
    for problem in problems:
        yield Observation(Location(TOKENIZER), {"problem": problem})
    # The package builds none with such a merge, and knows it sooner.
    merge = None if problems or build.built else unknown_merge(document.object)
    if not problems and merge is None and build.problem:
        problem = f"tokenizers cannot build it: {build.problem}"
        yield Observation(Location(TOKENIZER), {"problem": problem})
    if merge is not None:
        yield Observation(Location(TOKENIZER, "model.merges"),
                          {"problem": f"merges tokens that do not exist: {merge!r}"})  # fmt: skip


def _beyond(subject: Subject, *, added: bool) -> Iterator[tuple[str, int, int]]:
    view, rows = subject.tokenizer, embedding_rows(subject)
    if view is None or rows is None:
        return
    own = set(view.vocabulary.values())
    for content, number in view.added if added else view.vocabulary.items():
        if number >= rows and not (added and number in own):
            yield content, number, rows


def inside(subject: Subject, part: str) -> Location:
    """The file that the vocabulary is in; of a tokenizer.json that part."""
    path = subject.tokenizer.path if subject.tokenizer is not None else TOKENIZER
    return Location(path, part if path == TOKENIZER else "")


def _vocabulary_too_large(subject: Subject) -> Iterator[Observation]:
    """The token has no row in the embedding: MLX reads another's memory, torch fails."""
    found = list(_beyond(subject, added=False))
    if found:
        content, number, rows = max(found, key=itemgetter(1))
        facts: dict[str, Fact] = {
            "token": content[:60],
            "number": number,
            "rows": rows,
            "count": len(found),
        }
        yield Observation(inside(subject, "model.vocab"), facts)


def _added_too_large(subject: Subject) -> Iterator[Observation]:
    """A text that has the token fails. Text models of some families carry tokens for images, which
    they cannot read; others were given tokens without resizing the embedding."""
    for content, number, rows in islice(_beyond(subject, added=True), _MOST_SHOWN):
        facts: dict[str, Fact] = {"token": content[:60], "number": number, "rows": rows}
        yield Observation(inside(subject, "added_tokens"), facts)


#: Keys that transformers takes for paths of files to read, and that save_pretrained never writes.
_FILE_KEYS = frozenset(
    {"vocab_file", "merges_file", "tokenizer_file", "spm_file", "sentencepiece_model_file",
     "source_spm", "target_spm", "target_vocab_file", "vocab", "emoji_file", "word_shape_file",
     "word_pronunciation_file", "monolingual_vocab_file", "added_tokens_file", "bpe_file",
     "phonemizer_file", "entity_vocab_file", "normalizer_file", "chat_template_file",
     "fast_tokenizer_files"}
)  # fmt: skip
#: The files in which it takes them so.
_KEY_FILES = (TOKENIZER_CONFIG, SPECIAL_TOKENS)


def _file_reference(subject: Subject) -> Iterator[Observation]:
    """transformers reads the file that is named, also outside of the model, and writes it into
    whatever the user saves or publishes next: a secret of the machine's may go with it."""
    for document in subject.artifact.documents:
        fields = document.object if document.path.name in _KEY_FILES else {}
        for key in sorted(_FILE_KEYS & fields.keys()):
            if any(texts_in(fields[key])):
                named = ", ".join(texts_in(fields[key]))[:120]
                yield Observation(Location(document.path.text, key), {"file": named})


def _duplicates(subject: Subject) -> Iterator[Observation]:
    """Text and tokens no longer match one to one: what is decoded is not what was encoded. So a
    tokenizer can be made to say other words than the model does."""
    view = subject.tokenizer
    if view is None:
        return
    document = subject.artifact.document(TOKENIZER)
    written = written_specials(document.object if document else {})
    wrong = (f"the post-processor writes {number} for {content[:40]!r}"
             for content, number in written if view.ids.get(content) != number)  # fmt: skip
    for problem in islice(chain(_collisions(view), wrong), _MOST_SHOWN):
        yield Observation(inside(subject, ""), {"problem": problem})


def _at_random(subject: Subject) -> Iterator[Observation]:
    """With it each text is split otherwise every time: a means of training, which was left on."""
    document = subject.artifact.document(TOKENIZER)
    model = document.object.get("model") if document else None
    dropout = model.get("dropout") if isinstance(model, dict) else None
    if dropout:
        yield Observation(Location(TOKENIZER, "model.dropout"), {"dropout": str(dropout)[:20]})


def _unknown_missing(subject: Subject) -> Iterator[Observation]:
    """The tokenizer fails at the first letter that it does not know."""
    document, view = subject.artifact.document(TOKENIZER), subject.tokenizer
    model = document.object.get("model") if document else None
    token = model.get("unk_token") if isinstance(model, dict) else None
    if view is not None and isinstance(token, str) and token not in view.ids:
        yield Observation(Location(TOKENIZER, "model.unk_token"), {"token": token[:60]})


def _collisions(view: TokenizerView) -> Iterator[str]:
    if len(set(view.vocabulary.values())) < len(view.vocabulary):
        for number, count in Counter(view.vocabulary.values()).items():
            if count > 1:
                yield f"the vocabulary has {number} for several tokens"
    added = {number for _, number in view.added}
    by_id = {number: content for content, number in view.vocabulary.items() if number in added}
    seen: dict[str, int] = {}
    for content, number in view.added:
        if by_id.get(number, content) != content:
            yield f"{number} is {by_id[number][:40]!r} and added as {content[:40]!r}"
        known = seen.setdefault(content, view.vocabulary.get(content, number))
        if known != number:
            yield f"{content[:40]!r} has the numbers {known} and {number}"


#: The tokenizers of transformers 4 and 5, and mlx-lm's own, without the ends of their names; a test
#: takes those of 5 from there again.
_CLASSES = frozenset(
    {"Albert", "Bart", "Barthez", "Bartpho", "Bert", "BertGeneration", "BertJapanese", "Bertweet",
     "BigBird", "BioGpt", "Blenderbot", "BlenderbotSmall", "Bloom", "ByT5", "CLIP", "CTRL",
     "Camembert", "Canine", "Clvp", "CodeGen", "CodeLlama", "Cohere", "ConvBert", "Cpm", "CpmAnt",
     "DPRContextEncoder", "DPRQuestionEncoder", "DPRReader", "Deberta", "DebertaV2", "Dia",
     "DistilBert", "Electra", "ErnieM", "Esm", "Esmc", "FNet", "FSMT", "Flaubert", "Funnel",
     "GPT2", "GPTNeoX", "GPTNeoXJapanese", "GPTSanJapanese", "GPTSw3", "Gemma", "Herbert",
     "Jukebox", "LED", "Lasr", "LayoutLM", "LayoutLMv2", "LayoutLMv3", "LayoutXLM", "Llama",
     "Longformer", "Luke", "Lxmert", "M2M100", "MBart", "MBart50", "MLuke", "MPNet", "Marian",
     "MarkupLM", "Mega", "Mgpstr", "MistralCommon", "MobileBert", "Mvp", "MyT5", "Newline", "Nllb",
     "Nougat", "OpenAIGPT", "PLBart", "Parakeet", "Pegasus", "Perceiver", "Phobert", "PreTrained",
     "ProphetNet", "Qwen2", "Qwen3_5", "Rag", "Realm", "Reformer", "RemBert", "RetriBert",
     "RoCBert", "RoFormer", "Roberta", "SeamlessM4T", "Siglip", "Siglip2", "Speech2Text",
     "SpeechT5", "Splinter", "SqueezeBert", "T5", "Tapas", "Tapex", "Tipsv2", "TransfoXL", "UMT5",
     "Udop", "VideoPrism", "Vits", "Wav2Vec2CTC", "Wav2Vec2PhonemeCTC", "Whisper", "XGLM", "XLM",
     "XLMProphetNet", "XLMRoberta", "XLNet"}
)  # fmt: skip
_BACKENDS = frozenset(
    {"TokenizersBackend", "PythonBackend", "SentencePieceBackend", "MistralCommonBackend"}
)


def is_of_transformers(name: str) -> bool:
    """True for the name of a class that some transformers has."""
    base = name.removesuffix("Fast").removesuffix("Tokenizer")
    return name in _BACKENDS or (base != name and base in _CLASSES)


def _custom_class(subject: Subject) -> Iterator[Observation]:
    """Only code that comes with the model can build it, which mlx-lm and most servers refuse. By a
    name that is misspelt transformers 4 finds no tokenizer, and 5 takes one that it guesses."""
    document = subject.artifact.document(TOKENIZER_CONFIG)
    named = document.object.get("tokenizer_class") if document else None
    mapped = document.object.get("auto_map") if document else None
    if isinstance(mapped, dict) and "AutoTokenizer" in mapped:
        yield Observation(Location(TOKENIZER_CONFIG, "auto_map"), {"named": str(named)[:80]})
    elif isinstance(named, str) and not is_of_transformers(named):
        yield Observation(Location(TOKENIZER_CONFIG, "tokenizer_class"), {"named": named[:80]})


def _tokenizer_differs(subject: Subject) -> Iterator[Observation]:
    """Fine-tuning with MLX changes no token. A row of the embedding then stands for another text
    than the base's."""
    own, base = subject.tokenizer, subject.base_tokenizer
    if own is None or base is None:
        return
    there = base.ids
    other = [c for c, n in own.ids.items() if there.get(c, n) != n]
    if other:
        yield Observation(inside(subject, ""), {"count": len(other), "token": min(other)[:60]})


_E, _W, _I = Severity.ERROR, Severity.WARNING, Severity.INFO
_FUSED = frozenset({Kind.FUSED})
COPY = "copy the tokenizer's files from the base model"
RULES = (
    Rule("TK001", "tokenizer-missing", _W, "holds no tokenizer", COPY, _missing, Need.MODEL,
         _FUSED),
    Rule("TK002", "tokenizer-json-broken", _E, "{problem}", COPY, _broken),
    Rule("TK003", "vocab-larger-than-embedding", _E, "has {token!r} as {number}, and {count} "
         "token(s) beyond the {rows} rows of the embedding", COPY, _vocabulary_too_large,
         Need.MODEL, _FUSED),
    Rule("TK005", "tokenizer-file-reference", _E, "names the file {file!r}",
         "delete the key; loaders find the files by their names", _file_reference),
    Rule("TK006", "token-collision", _W, "{problem}", COPY, _duplicates),
    Rule("TK007", "tokenizer-differs-from-base", _W, "has other numbers than the base for {count} "
         "token(s), {token!r} first", COPY, _tokenizer_differs, Need.SCAN),
    Rule("TK008", "tokenizer-class-custom", _W, "is no class of transformers: {named}",
         "use a class that transformers has", _custom_class),
    Rule("TK009", "added-token-outside-embedding", _W, "has {token!r} as {number}; the embedding "
         "has {rows} rows", COPY, _added_too_large, Need.MODEL, _FUSED),
    Rule("TK013", "tokenizer-at-random", _W, "is {dropout}: texts are split at random",
         "write null", _at_random),
    Rule("TK014", "unknown-token-missing", _W, "is {token!r}, which the vocabulary has not", COPY,
         _unknown_missing),
)  # fmt: skip
