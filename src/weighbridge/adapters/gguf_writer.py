"""Writes a PEFT LoRA as GGUF with llama.cpp's own package ``gguf`` (the extra ``gguf``).

The package knows tensor names, the metadata and the container; ``domain.gguf_plan`` decides what
becomes of each tensor, and this module carries it out. One tensor of the output is in memory at a
time: the largest are stacked experts and a vocabulary, tens of MiB.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from attrs import frozen

from weighbridge.application.load import read_base_config, read_optional
from weighbridge.application.ports import GgufType
from weighbridge.domain.artifact import ArtifactPath
from weighbridge.domain.errors import ArtifactUnreadable, MissingExtra, NotConvertible, StorageError
from weighbridge.domain.gguf.plan import GgufPlan, gguf_base, plan_gguf
from weighbridge.domain.strict_json import StrictJsonError, parse_object
from weighbridge.domain.tensors import Header, HeaderInvalid, header_length, parse_header

if TYPE_CHECKING:
    from weighbridge.application.ports import Buffer, FileSystem, GgufRequest, Reader
    from weighbridge.domain.gguf.tensors import GgufTensor
    from weighbridge.domain.tensors import TensorSpec

Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]

_MISSING = "needs the extra 'gguf': pip install 'weighbridge[gguf]'"
_WEIGHTS = ArtifactPath("adapter_model.safetensors")
_CONFIG = ArtifactPath("adapter_config.json")
_CARD = "README.md"
_WORDS = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}
_ITEM_BYTES = {GgufType.F32: 4, GgufType.F16: 2, GgufType.BF16: 2}


@frozen
class GgufPackageWriter:
    """The GgufWriter on the package ``gguf``. Imports it only when asked to render."""

    files: FileSystem

    def obstacle(self) -> str | None:
        """What to install if the package cannot be found."""
        try:
            found = importlib.util.find_spec("gguf")
        except (ImportError, ValueError):  # put into sys.modules without a spec
            found = None
        return _MISSING if found is None else None

    def render(self, request: GgufRequest) -> Iterator[Buffer]:
        """The file's bytes. Refuses before it returns; see the port."""
        missing = self.obstacle()
        if missing is not None:
            raise MissingExtra(problem=missing, extra="gguf")
        gguf = import_module("gguf")
        base = read_base_config(self.files, request.base) or {}
        architecture, layers = gguf_base(base, location=request.converted)
        names = _name_map(gguf, architecture.name, layers)
        header = self._header(request.converted)
        plan = plan_gguf(
            self._config(request.converted),
            base,
            [slot.spec for slot in header.slots],
            lambda key: names.get_name(key, try_suffixes=(".weight", ".bias")),
            location=request.converted,
        )
        beginning = _beginning(gguf, plan, request, self._card(gguf, request.converted))
        return self._chunks(gguf, plan, request, header, beginning)

    def _config(self, location: str) -> Mapping[str, Any]:
        try:
            return parse_object(self.files.read(location, _CONFIG))
        except StrictJsonError as error:
            raise _unreadable(location, f"{_CONFIG.text}: {error}") from error

    def _header(self, location: str) -> Header:
        try:
            with self.files.open(location, _WEIGHTS) as reader:
                prefix = bytearray(min(reader.size, 64))
                reader.read_into(memoryview(prefix), 0)
                raw = bytearray(header_length(bytes(prefix), reader.size))
                reader.read_into(memoryview(raw), 8)
                return parse_header(bytes(raw), reader.size)
        except HeaderInvalid as error:
            raise _unreadable(location, f"{_WEIGHTS.text}: {error}") from error

    def _card(self, gguf: Any, location: str) -> Mapping[str, Any]:
        """The card's metadata as llama.cpp's converter reads it, but for values of odd types."""
        raw = read_optional(self.files, location, _CARD)
        if raw is None:
            return {}
        try:
            with _scratch() as scratch:
                Path(scratch, _CARD).write_bytes(raw)
                card = gguf.Metadata.load_model_card(Path(scratch))
        except (UnicodeDecodeError, import_module("yaml").YAMLError) as error:
            raise _unreadable(location, f"{_CARD}: {error}") from error
        return {key: value for key, value in card.items() if _is_text(value)}

    def _chunks(
        self, gguf: Any, plan: GgufPlan, request: GgufRequest, header: Header, beginning: bytes
    ) -> Iterator[Buffer]:
        yield beginning
        starts = {slot.spec.name: slot.start for slot in header.slots}
        with self.files.open(request.converted, _WEIGHTS) as reader:
            for tensor in plan.tensors:
                values = _values(tensor, reader, starts)
                data = _encoded(gguf, tensor.name, values, request)
                yield data.reshape(-1).view(np.uint8).data
                yield _padding(gguf, data.nbytes)


def _unreadable(location: str, problem: str) -> ArtifactUnreadable:
    return ArtifactUnreadable(location=location, problems=(problem,))


def _is_text(value: object) -> bool:
    if isinstance(value, list):
        return all(isinstance(each, str) for each in value)
    return isinstance(value, str)


def _name_map(gguf: Any, architecture: str, layers: int) -> Any:
    by_name = {name: arch for arch, name in gguf.MODEL_ARCH_NAMES.items()}
    if architecture not in by_name:
        raise MissingExtra(
            problem=f"the installed package gguf does not know {architecture!r}; upgrade it",
            extra="gguf",
        )
    return gguf.get_tensor_name_map(by_name[architecture], layers)


def _beginning(gguf: Any, plan: GgufPlan, request: GgufRequest, card: Mapping[str, Any]) -> bytes:
    """All that stands before the first tensor's data: header, metadata, directory, padding."""
    writer = gguf.GGUFWriter(path=None, arch=plan.architecture)
    kind = gguf.GGMLQuantizationType[request.outtype.name]
    item = _ITEM_BYTES[request.outtype]
    for tensor in plan.tensors:
        size = int(np.prod(tensor.shape)) * item
        writer.add_tensor_info(tensor.name, tensor.shape, np.dtype(np.float32), size, kind)
    # In the order of llama.cpp's converter, so that its files are the same bytes.
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    _metadata(gguf, writer, request, card).set_gguf_meta_model(writer)
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, plan.alpha)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    raw = _written(writer)
    return raw + _padding(gguf, len(raw))


def _metadata(gguf: Any, writer: Any, request: GgufRequest, card: Mapping[str, Any]) -> Any:
    total = writer.get_total_parameter_count()[0]
    name = Path(request.name or Path(request.converted).name)
    return gguf.Metadata.apply_metadata_heuristic(gguf.Metadata(), dict(card), {}, name, total)


def _written(writer: Any) -> bytes:
    """What the writer makes of header, metadata and directory; it writes to paths only."""
    with _scratch() as scratch:
        path = Path(scratch, "beginning.gguf")
        try:
            writer.write_header_to_file(path=path)
            writer.write_kv_data_to_file()
            writer.write_ti_data_to_file()
        finally:
            writer.close()
        return path.read_bytes()


@contextmanager
def _scratch() -> Iterator[str]:
    """A temporary directory; whatever goes wrong with its files is a StorageError."""
    try:
        with tempfile.TemporaryDirectory(prefix="weighbridge-gguf-") as scratch:
            yield scratch
    except OSError as error:
        directory = tempfile.gettempdir()
        raise StorageError(path=directory, operation="write", reason=str(error)) from error


def _padding(gguf: Any, size: int) -> bytes:
    return bytes(-size % gguf.GGUF_DEFAULT_ALIGNMENT)


def _values(tensor: GgufTensor, reader: Reader, starts: Mapping[str, int]) -> Floats:
    """The tensor as float32, which every type of a LoRA becomes without a loss."""
    result = np.empty(tensor.shape, np.float32)
    parts = result if len(tensor.sources) > 1 or result.ndim == 3 else result[np.newaxis]
    for part, source in zip(parts, tensor.sources, strict=True):
        matrix = _matrix(source, reader, starts[source.name])
        if tensor.order is not None:
            indices = np.array(tensor.order)
            matrix = matrix[:, indices] if tensor.columns else matrix[indices]
        part[...] = matrix.T if tensor.transposed else matrix
    return result


def _matrix(spec: TensorSpec, reader: Reader, start: int) -> Floats:
    words = np.empty(spec.shape, _WORDS[spec.dtype])
    reader.read_into(words.reshape(-1).view(np.uint8).data, start)
    if spec.dtype == "BF16":
        return (words.astype(np.uint32) << 16).view(np.float32)
    return words.astype(np.float32, copy=False)


def _encoded(gguf: Any, name: str, values: Floats, request: GgufRequest) -> Any:
    if request.outtype is GgufType.F32:
        return values
    with np.errstate(over="ignore"):
        encoded = gguf.quants.quantize(values, gguf.GGMLQuantizationType[request.outtype.name])
    if request.outtype is GgufType.F16 and not np.isfinite(encoded).all():
        reason = f"{name}: holds values that float16 cannot; write it as f32"
        raise NotConvertible(location=request.converted, reasons=(reason,))
    return encoded
