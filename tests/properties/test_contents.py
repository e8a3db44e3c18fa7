"""Any bytes at all: recognised, looked through and read as a card without a crash."""

from __future__ import annotations

import tracemalloc

from hypothesis import given, settings, strategies as st

from tests.unit.examples_of_contents import PICKLE, hf_token
from weighbridge.domain.contents import Family, marks_in
from weighbridge.domain.file_forms import recognise
from weighbridge.domain.front_matter import read_front_matter
from weighbridge.domain.leaks import LeakScanner

_PIECES = st.sampled_from(
    [b"hf_", b"eyJ", b"/Users/ada/", b"C:\\Users\\", b"\\u0068", b"\\u00", b"-----BEGIN ",
     b"@x.org",
     b"PRIVATE KEY-----", b"\n", b"wandb.ai/", b"---\n", b"a: &a [*a]\n", b"PK\5\6", b"\x80\4"]
)  # fmt: skip
_BYTES = st.lists(_PIECES | st.binary(max_size=20), max_size=12).map(b"".join)
_JSON = st.recursive(
    st.none() | st.booleans() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["auto_map", "a"]), inner, max_size=2)
    ),
)


@settings(deadline=None)
@given(_BYTES, st.booleans())
def test_nothing_raises(content: bytes, closely: bool) -> None:
    recognise(content, content[-9:])
    front = read_front_matter(b"---\n" + content + b"\n---\n")
    assert front.problem is None or not front.fields
    scanner = LeakScanner("x", closely=closely)
    scanner.feed(content)
    assert all(leak.masked.endswith(("***", "-----")) for leak in scanner.found)


@settings(deadline=None)
@given(st.text("ab \n\u00e9", max_size=40), st.text("ab \n\u00e9", max_size=40), st.data())
def test_a_secret_is_found_once_wherever_the_chunks_end(
    before: str, after: str, data: st.DataObject
) -> None:
    content = f"{before} {hf_token()} {after}".encode()
    cut = data.draw(st.integers(0, len(content)))
    scanner = LeakScanner("x")
    scanner.feed(content[:cut])
    scanner.feed(content[cut:])
    (leak,) = scanner.found
    assert leak.place == f"line {before.count(chr(10)) + 1}"


@given(
    st.sampled_from(
        ["whsec_ab/cd+" + "q7" * 12, "ABSK/" + "q7" * 60, "ATATT3xFfGF0" + "q7" * 84 + "=1A2B3C4D"]
    ),
    st.sampled_from(["the cat ", "Zm9vYmFyYmF6cXV4 "]),
    st.sampled_from(' "=/-_'),
)
def test_a_secret_is_found_among_words_of_any_length(token: str, words: str, sign: str) -> None:
    scanner = LeakScanner("x")
    scanner.feed((words * 100 + "\n" + sign + token + " " + words * 100).encode())
    assert [leak.place for leak in scanner.found] == ["line 2"]


def test_nothing_that_was_read_is_kept() -> None:
    scanner = LeakScanner("x")
    tracemalloc.start()
    try:
        for n in range(16):
            scanner.feed(b"\\u0061" * (40_000 + n) + b"\n")
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 1 << 20


_LEAKS = st.sampled_from(
    [hf_token().encode(), b"/Users/ada/runs", b"ada@lovelace.org", b"http://10.1.2.3/models"]
)


@settings(deadline=None)
@given(_LEAKS, st.integers(0, 999))
def test_one_entry_of_an_index_that_leaks_is_found(leak: bytes, at: int) -> None:
    entries = [b'"model.layers.%d.norm.weight": "model-1.safetensors"' % n for n in range(1000)]
    entries[at] = b'"model.layers.%d.norm.weight": "%s"' % (at, leak)
    scanner = LeakScanner("model.safetensors.index.json", closely=True)
    scanner.feed(b"{" + b",\n".join(entries) + b"}")
    (found,) = scanner.found
    assert found.place == f"line {at + 1}"


@given(_JSON)
def test_every_telling_key_is_marked(value: object) -> None:
    assert len(list(marks_in("x.json", value))) == repr(value).count("'auto_map':")


@given(st.binary(max_size=64))
def test_a_pickle_behind_anything_but_itself_is_what_the_beginning_says(prefix: bytes) -> None:
    form = recognise(PICKLE + prefix, prefix)
    assert form is not None and form.family is Family.PICKLE
