"""From the words of arguments to values: the same for the command line and for Python."""

from __future__ import annotations

import os
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from weighbridge.domain.base_names import looks_quantised
from weighbridge.domain.errors import UsageError, WeighbridgeError
from weighbridge.domain.models import Kind

if TYPE_CHECKING:
    from weighbridge.domain.detection import Choice
    from weighbridge.domain.proof import ProofLevel
    from weighbridge.entrypoints.settings import Settings

_Word = TypeVar("_Word", bound=Enum)


def word(name: str | _Word, words: type[_Word], what: str) -> _Word:
    """The member that a word of an option names. Raises UsageError with those that are known."""
    try:
        return words(name) if isinstance(name, str) else name
    except ValueError:
        known = ", ".join(str(word.value) for word in words)
        raise UsageError(problem=f"{name!r} is no {what}; known are {known}") from None


def choice(kind_of: str | Kind | None, checkpoint: int | None, *, bare: bool = False) -> Choice:
    """What the caller says of a directory with several models."""
    from weighbridge.domain.detection import Choice

    return Choice(kind(kind_of), checkpoint, bare)


def kind(name: str | Kind | None) -> Kind | None:
    """The kind of that name."""
    return None if name is None else word(name, Kind, "kind of model")


def level(name: str | ProofLevel | None) -> ProofLevel | None:
    """The level of proof of that name."""
    from weighbridge.domain.proof import ProofLevel

    try:
        return ProofLevel.parse(name) if isinstance(name, str) else name
    except KeyError:
        known = ", ".join(level.label for level in ProofLevel)
        raise UsageError(problem=f"{name!r} is no proof level; known are {known}") from None


def proof_limit(
    up_to: str | ProofLevel | None, required: str | ProofLevel | None = None
) -> ProofLevel:
    """The strongest level to attempt. Raises UsageError if more than that is insisted on."""
    from weighbridge.domain.proof import ProofLevel

    limit, least = level(up_to) or ProofLevel.LOGITS, level(required)
    if least is not None and least > limit:
        raise UsageError(problem=f"a proof up to {limit.label} does not reach {least.label}")
    return limit


def base_directory(
    path: str | os.PathLike[str],
    base: str | os.PathLike[str] | None,
    base_model: str | None,
    kind_of: str | Kind | None,
    settings: Settings,
) -> str | None:
    """The directory of the base model: as given, else its snapshot in the Hugging Face cache, or
    that of the quantised copy which a LoRA was trained on."""
    if base is not None:
        return _no_bare_name(os.fspath(base), settings)
    if base_model is not None and (named := settings.cached_base(base_model)):
        return named
    trained_on = _named_in(os.fspath(path), kind_of, settings)
    # Beside another name the run's own counts if it is that of a quantised copy.
    if base_model is not None and not looks_quantised(trained_on or ""):
        return None
    return settings.cached_base(trained_on)


def _named_in(path: str, kind_of: str | Kind | None, settings: Settings) -> str | None:
    """The base model that the adapter in ``path`` names."""
    from weighbridge.entrypoints.container import build

    try:
        if not _may_name_a_base(path, settings):
            return None
        found: str | None = build(settings).inspect()(path, choice(kind_of, None)).base_model
    except WeighbridgeError:
        return None  # what follows says what is wrong
    return found


def _no_bare_name(base: str, settings: Settings) -> str:
    """``base``. Raises UsageError if it is no directory, but a name of the Hub."""
    from weighbridge.domain.conversion import is_local_path

    if base.startswith("hf://") or os.path.exists(base) or is_local_path(base):
        return base
    cached = settings.cached_base(base)
    told = f", or what is in the cache, {cached}" if cached else ""
    raise UsageError(
        problem=f"the base {base} is no directory; for a model of that name on the Hub give "
        f"hf://{base}{told}"
    )


def pinned(base: str | None, settings: Settings) -> str | None:
    """The same base; on the Hub, at the commit that it is now, which a release can then name."""
    if base is None or not base.startswith("hf://"):
        return base
    from weighbridge.entrypoints.container import build

    return build(settings).hub_files().pinned(base)


def keep_outside(registry: str | os.PathLike[str], path: str | os.PathLike[str]) -> None:
    """Raises UsageError if the registry would lie in what is published: the next run finds it there
    and takes it for a part of the model."""
    root = Path(registry).resolve()
    if any(same_file(path, each) for each in (root, *root.parents)):
        raise UsageError(
            problem=f"the registry {os.fspath(registry)} lies in what is published, "
            f"{os.fspath(path)}; give a directory outside of it"
        )


def same_file(first: str | os.PathLike[str], second: str | os.PathLike[str]) -> bool:
    """Asked of the file system, to which names of different case may be the same."""
    try:
        return os.path.samefile(first, second)
    except OSError:
        return False


def _may_name_a_base(location: str, settings: Settings) -> bool:
    """False if no adapter's config is there; to inspect takes as long as to check the headers."""
    if location.startswith("hf://"):
        from weighbridge.entrypoints.container import build

        listed = build(settings).hub_files().scan(location).files
        return any(entry.path.name == "adapter_config.json" for entry in listed)
    names = ("adapter_config.json", "*/adapter_config.json")
    return any(next(Path(location).glob(name), None) for name in names)
