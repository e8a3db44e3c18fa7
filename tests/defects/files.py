"""What lies in a directory and should not, or does not and should."""

from __future__ import annotations

import io
import os
import pickle
import shutil
import struct
import zipfile
import zlib
from pathlib import Path

from tests.builders import old_tar

from .kit import (
    ADAPTER,
    FUSED,
    LORA,
    TEMPLATE,
    TOKENIZER,
    Tensor,
    Twin,
    defect,
    read_json,
    write_json,
    write_tensors,
)


class _Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("true",)


#: Protocol 2 has no framing, as most attacks in the wild.
_EVIL = pickle.dumps(_Evil(), protocol=2)


def _torch_zip(path: Path) -> None:
    """The layout that torch.save has written since 1.6."""
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr("archive/data.pkl", _EVIL)
        opened.writestr("archive/version", "3\n")


@defect(Twin.FUSED, "FS001")
def empty_dir(d: Path) -> None:
    """A directory with nothing in it."""
    shutil.rmtree(d)
    d.mkdir()


@defect(Twin.FUSED, "FS006")
def fused_case_collision(d: Path) -> None:
    """Config.json beside config.json."""
    (d / "Config.json").write_bytes((d / "config.json").read_bytes())


@defect(Twin.FUSED, "FS008")
def fused_ds_store(d: Path) -> None:
    """What the Finder leaves behind."""
    (d / ".DS_Store").write_bytes(b"\0\0\0\1Bud1" + b"\0" * 64)


@defect(Twin.FUSED, "FS004")
def fused_fifo(d: Path) -> None:
    """A pipe, on which a reader waits for ever."""
    os.mkfifo(d / "notes.json")


@defect(Twin.FUSED, "FS001")
def fused_missing_weights(d: Path) -> None:
    """Config and tokenizer without weights."""
    (d / FUSED).unlink()
    (d / "model.safetensors.index.json").unlink()


@defect(Twin.FUSED, "FS011")
def fused_optimizer(d: Path) -> None:
    """State of the optimizer beside the weights."""
    shutil.copyfile(d / FUSED, d / "optimizer.safetensors")


@defect(Twin.FUSED, "EX001")
def fused_pickle_benign(d: Path) -> None:
    """A pickle of plain data."""
    (d / "extra.pkl").write_bytes(pickle.dumps({"a": [1, 2]}))


@defect(Twin.FUSED, "EX001")
def fused_pickle_evil(d: Path) -> None:
    """A pickle that runs a command, called pytorch_model.bin."""
    (d / "pytorch_model.bin").write_bytes(_EVIL)


@defect(Twin.FUSED, "EX001")
def fused_pickle_renamed(d: Path) -> None:
    """The same under the name of a text file."""
    (d / "notes.txt").write_bytes(_EVIL)


@defect(Twin.FUSED, "EX001")
def fused_pkl_evil(d: Path) -> None:
    """The same as .pkl."""
    (d / "state.pkl").write_bytes(_EVIL)


@defect(Twin.FUSED, "EX001")
def fused_torchlegacy_evil(d: Path) -> None:
    """The same within torch's layout before 1.6, pickles in a row."""
    head = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]
    rows = b"".join(pickle.dumps(one, protocol=2) for one in head)
    (d / "pytorch_model.bin").write_bytes(rows + _EVIL)


@defect(Twin.FUSED, "EX001")
def fused_torchzip_evil(d: Path) -> None:
    """The same within torch's zip archive."""
    _torch_zip(d / "pytorch_model.bin")


@defect(Twin.LORA, "EX001")
def lora_pickle_evil(d: Path) -> None:
    """A pickle that runs a command, as adapter_model.bin beside a LoRA."""
    (d / "adapter_model.bin").write_bytes(_EVIL)


@defect(Twin.FUSED, "EX001")
def fused_numpy_pickle(d: Path) -> None:
    """An array of numpy whose one object runs a command."""
    shape = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
    shape += b" " * (-(10 + len(shape) + 1) % 64) + b"\n"
    head = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(shape))
    (d / "means.npy").write_bytes(head + shape + _EVIL)


@defect(Twin.FUSED, "FS002")
def fused_symlink_dir(d: Path) -> None:
    """A link from the directory to itself."""
    (d / "again").symlink_to(".")


@defect(Twin.FUSED, "FS003")
def fused_symlink_escape(d: Path) -> None:
    """A link to a file of the machine."""
    (d / "notes.md").symlink_to("/etc/passwd")


@defect(Twin.FUSED, "FS002")
def fused_symlink_loop(d: Path) -> None:
    """A link to its own name."""
    (d / "loop.json").symlink_to("loop.json")


@defect(Twin.FUSED, "FS012")
def fused_training_data(d: Path) -> None:
    """The examples it was trained on."""
    (d / "train.jsonl").write_text('{"text": "a private letter"}\n' * 9)


@defect(Twin.LORA, "FS001", "AD001")
def lora_no_config(d: Path) -> None:
    """A LoRA without its config."""
    (d / ADAPTER).unlink()


@defect(Twin.LORA, "FS001", "AD002")
def lora_no_weights(d: Path) -> None:
    """A LoRA's config without its weights."""
    (d / LORA).unlink()


@defect(Twin.LORA, "FS010")
def lora_stray_checkpoints(d: Path) -> None:
    """Numbered checkpoints of the training."""
    for step in (100, 200):
        shutil.copyfile(d / LORA, d / f"{step:07}_adapters.safetensors")


@defect(Twin.FUSED, "FS001", "CF001")
def fused_no_config(d: Path) -> None:
    """Weights without config.json."""
    (d / "config.json").unlink()


@defect(Twin.FUSED, "FS007")
def fused_unexpected_file(d: Path) -> None:
    """A file that no release of that kind has."""
    (d / "notes.docx").write_bytes(b"draft")


@defect(Twin.FUSED, "FS009")
def fused_placeholder_card(d: Path) -> None:
    """A README of one word, TODO."""
    (d / "README.md").write_text("TODO\n")


@defect(Twin.FUSED, "FS013")
def fused_mixed_kinds(d: Path) -> None:
    """A LoRA's weights beside the fused ones."""
    shutil.copyfile(d / FUSED, d / LORA)


@defect(Twin.FUSED, "FS013")
def fused_weights_hidden(d: Path) -> None:
    """The weights once more, under a name that nobody is shown."""
    shutil.copyfile(d / FUSED, d / ".weights.bak")


@defect(Twin.FUSED, "FS009")
def fused_annex_pointer(d: Path) -> None:
    """A pointer of git-annex instead of a vocabulary."""
    (d / "tokenizer.model").write_text("/annex/objects/SHA256E-s499723--0a1b.model\n")


@defect(Twin.FUSED, "FS015")
def fused_nested_repository(d: Path) -> None:
    """A git repository's own directory."""
    (d / ".git").mkdir()
    (d / ".git" / "config").write_text("[core]\n\tbare = false\n")


@defect(Twin.FUSED, "FS016")
def fused_hard_link(d: Path) -> None:
    """A second name of the weights, outside."""
    os.link(d / FUSED, d.parent / "elsewhere")


@defect(Twin.FUSED, "FS017")
def fused_reserved_name(d: Path) -> None:
    """A name that Windows cannot have."""
    (d / "aux.txt").write_text("x\n")


@defect(Twin.FUSED, "FS017")
def fused_control_in_name(d: Path) -> None:
    """A name that writes to the terminal."""
    (d / "a\x1b[31mb.txt").write_text("x\n")


@defect(Twin.FUSED, "EX002")
def fused_python_file(d: Path) -> None:
    """A module of Python."""
    (d / "modeling_own.py").write_text("import os\nos.system('true')\n")


@defect(Twin.FUSED, "EX007")
def fused_shell_script(d: Path) -> None:
    """A script without an ending."""
    (d / "setup").write_text("#!/bin/sh\ntrue\n")


@defect(Twin.FUSED, "EX007")
def fused_elf(d: Path) -> None:
    """A program for Linux called kernel.txt."""
    (d / "kernel.txt").write_bytes(b"\x7fELF\x02\x01\x01" + b"\0" * 57)


@defect(Twin.FUSED, "EX008")
def fused_archive(d: Path) -> None:
    """An archive."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as opened:
        opened.writestr("../../up.txt", "x")
    (d / "extra.zip").write_bytes(packed.getvalue())


@defect(Twin.FUSED, "EX001")
def fused_pickle_hidden(d: Path) -> None:
    """A call behind the text of a licence, in a pickle of the first protocol."""
    text = b"Permission is hereby granted, free of charge, to any person. " * 400
    (d / "LICENSE").write_bytes(b"S'" + text + b"'\n0cposix\nsystem\n(S'true'\ntR.")


@defect(Twin.FUSED, "EX008")
def fused_old_tar(d: Path) -> None:
    """A pickle in a tar archive that does not say it is one, as before POSIX, called model.dat."""
    (d / "model.dat").write_bytes(old_tar("data.pkl", _EVIL))


@defect(Twin.FUSED, "EX008")
def fused_joblib(d: Path) -> None:
    """A pickle as joblib compresses it, called LICENSE."""
    (d / "LICENSE").write_bytes(zlib.compress(_EVIL))


@defect(Twin.FUSED, "EX010")
def fused_modules(d: Path) -> None:
    """A list of modules that are not sentence-transformers' own."""
    write_json(d / "modules.json", [{"idx": 0, "name": "0", "path": "", "type": "os.system"}])


@defect(Twin.FUSED, "FS018")
def fused_tiny(d: Path) -> None:
    """A whole model of one number."""
    write_tensors(
        d / FUSED, [Tensor("model.norm.weight", "BF16", (1,), bytes(2))], {"format": "mlx"}
    )


@defect(Twin.FUSED, "FS019")
def fused_deep(d: Path) -> None:
    """Seventy directories in each other."""
    deep = d.joinpath(*["d"] * 70)
    deep.mkdir(parents=True)
    (deep / "notes.md").write_text("x\n")


@defect(Twin.FUSED, "FS020")
def fused_licence_binary(d: Path) -> None:
    """Bytes that are no text, called LICENSE."""
    (d / "LICENSE").write_bytes(bytes(range(256)) * 9)


@defect(Twin.FUSED, "JS009")
def fused_json_lines(d: Path) -> None:
    """Records of an evaluation, a line for each, called .json."""
    (d / "evaluation.json").write_text('{"a": 1}\n{"a": 2}\n')


@defect(Twin.FUSED, "EX009")
def fused_gguf(d: Path) -> None:
    """A model of another program."""
    (d / "model.gguf").write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 0))


@defect(Twin.FUSED, "TK001")
def fused_no_tokenizer(d: Path) -> None:
    """A whole model without a tokenizer."""
    for name in (TOKENIZER, "tokenizer_config.json", TEMPLATE):
        (d / name).unlink()


@defect(Twin.LORA, "PE012")
def lora_of_peft_names(d: Path) -> None:
    """A PEFT adapter under MLX's file names."""
    from .twins import good_twin

    peft = good_twin(Twin.PEFT)
    shutil.copyfile(peft / "adapter_model.safetensors", d / LORA)
    write_json(d / ADAPTER, read_json(peft / ADAPTER))
