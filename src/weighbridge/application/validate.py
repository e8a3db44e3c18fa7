"""Judge a directory: a bad artifact gives a report, only a broken world raises."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeAlias

from attrs import evolve, field, frozen

from weighbridge.application.changed_weights import MeasureChanges
from weighbridge.application.contents import MOST_OF_FILE
from weighbridge.application.digests import sha256_of
from weighbridge.application.duplicates import find_duplicates
from weighbridge.application.load import (
    Extent,
    classify,
    read_artifact,
    read_base_config,
    read_base_tokenizer,
    read_optional,
)
from weighbridge.application.ports import (
    FileSystem,
    Progress,
    Surveyor,
    TemplateReader,
    TokenizerBuilder,
    no_progress,
)
from weighbridge.application.templates import read_templates
from weighbridge.domain.artifact import (
    ArtifactPath,
    Digest,
    Manifest,
    ManifestEntry,
    ModelArtifact,
    Scan,
    TensorFile,
)
from weighbridge.domain.card import licence_of
from weighbridge.domain.contents import in_repository
from weighbridge.domain.coverage import unexamined
from weighbridge.domain.detection import Choice, parse_model
from weighbridge.domain.errors import (
    ArtifactUnreadable,
    InvalidModelStructure,
    StorageError,
    StructureError,
)
from weighbridge.domain.findings import Crashed, Rule, Subject, ValidationReport, judge
from weighbridge.domain.models import FusedModel, Kind, LoraModel, Model, PeftModel
from weighbridge.domain.policy.application import apply, wanted_digests
from weighbridge.domain.policy.policy import Policy
from weighbridge.domain.repairing.misnamed import misnamed_adapter
from weighbridge.domain.rules import CATALOGUE
from weighbridge.domain.shipping import CARD
from weighbridge.domain.survey import TensorStats, WeightSurvey
from weighbridge.domain.tokenizer import (
    MERGES,
    PIECES,
    TOKENIZER,
    TokenizerBuild,
    TokenizerView,
    tokenizer_view,
)

#: Today as YYYY-MM-DD, in UTC.
Clock: TypeAlias = Callable[[], str]


def no_clock() -> str:
    """The clock of those who have none: no exception lasts so long."""
    return "9999-12-31"


@frozen
class ValidateRequest:
    """``base`` is a directory with the base's config.json; ``base_model`` its name, if said;
    ``scale`` is what MLX multiplied by, if said. Without ``weights``, only headers and small files
    are read, and without ``base_weights`` none of the base's weights, should it have them."""

    location: str
    choice: Choice = field(factory=Choice)
    base: str | None = None
    base_model: str | None = None
    weights: bool = True
    scale: float | None = None
    base_weights: bool = True
    policy: Policy = field(factory=Policy)


@frozen
class Validate:
    """The use case, over its ports. ``unavailable`` are rules that should run and cannot."""

    files: FileSystem
    surveyor: Surveyor
    templates: TemplateReader
    measure: MeasureChanges | None = None
    tokenizers: TokenizerBuilder | None = None
    rules: tuple[Rule, ...] = field(default=CATALOGUE, repr=False)
    unavailable: tuple[Crashed, ...] = ()
    clock: Clock = no_clock

    def __call__(
        self, request: ValidateRequest, progress: Progress = no_progress
    ) -> ValidationReport:
        """Every finding at once. Raises StorageError only if the storage itself fails."""
        policy, subject = request.policy, self._subject(request, progress)
        rules = policy.selected(self.rules)
        judged = judge(subject, rules)
        on = {rule.code for rule in rules}
        judged = evolve(
            judged,
            crashed=(*self.unavailable, *judged.crashed),
            unexamined=unexamined(subject, weights=request.weights),
            manifest=self._manifest(subject) if request.weights else Manifest(()),
            ignored=tuple(rule.code for rule in self.rules if rule.code not in on),
        )
        digests = self._digests(request.location, wanted_digests(policy, judged))
        return apply(policy, judged, today=self.clock(), digests=digests)

    def _manifest(self, subject: Subject) -> Manifest:
        """The files that were judged whole, with the digests of their bytes."""
        artifact = subject.artifact
        known = dict(subject.survey.digests) if subject.survey else {}
        for entry in artifact.scan.files:
            path = entry.path.text
            if path not in known and entry.size <= MOST_OF_FILE and not in_repository(path):
                known[path] = sha256_of(self.files, artifact.location, entry.path)
        return Manifest(
            ManifestEntry(entry.path, entry.size, (known[entry.path.text],))
            for entry in artifact.scan.files if entry.path.text in known
        )  # fmt: skip

    def _digests(self, location: str, paths: tuple[str, ...]) -> dict[str, str]:
        """The sha256 of those files; none of one that cannot be read."""
        found = {}
        for path in paths:
            with suppress(StorageError):
                found[path] = sha256_of(self.files, location, ArtifactPath(path)).value
        return found

    def _subject(self, request: ValidateRequest, progress: Progress) -> Subject:
        base_config = read_base_config(self.files, request.base)
        try:
            extent = Extent.EVERYTHING if request.weights else Extent.SMALL
            artifact = read_artifact(self.files, request.location, extent=extent)
        except InvalidModelStructure as error:
            empty = ModelArtifact(request.location, Scan(()))
            return Subject(empty, structure_error=error)
        tokenizer = tokenizer_view(artifact)
        with ThreadPoolExecutor(max_workers=1) as pool:  # Another process builds it.
            built = pool.submit(self._built, request, artifact, tokenizer)
            subject = evolve(self._read(request, artifact, tokenizer), base_config=base_config)
            subject = self._seen(request, subject, progress)
            return evolve(subject, tokenizer_build=built.result())

    def _read(
        self, request: ValidateRequest, artifact: ModelArtifact, tokenizer: TokenizerView | None
    ) -> Subject:
        """What is read beside the artifact."""
        base_card = read_optional(self.files, request.base, CARD) if request.base else None
        return Subject(
            artifact,
            base_licence=licence_of(base_card or b""),
            base_model=request.base_model,
            scale=request.scale,
            templates=read_templates(self.files, artifact, self.templates),
            tokenizer=tokenizer,
            tokenizer_files={
                path: self.files.read(request.location, ArtifactPath(path))
                for path in (MERGES, PIECES)
                if request.weights and 0 < (artifact.size_of(path) or 0) <= MOST_OF_FILE
            },
            base_tokenizer=read_base_tokenizer(self.files, request.base) if tokenizer else None,
        )

    def _seen(self, request: ValidateRequest, subject: Subject, progress: Progress) -> Subject:
        """The same as a model, if it can be read as one."""
        artifact = subject.artifact
        try:
            detected = classify(artifact, request.choice)
        except StructureError as error:
            return self._told_apart(request, evolve(subject, structure_error=error), progress)
        subject = evolve(subject, kind=detected.kind)
        try:
            model = parse_model(artifact, detected)
        except ArtifactUnreadable:
            return subject  # the families ST and JS say why
        if isinstance(model, LoraModel) and not model.targets:
            return self._told_apart(request, evolve(subject, model=model), progress)
        return self._surveyed(request, evolve(subject, model=model), progress)

    def _built(
        self, request: ValidateRequest, artifact: ModelArtifact, found: TokenizerView | None
    ) -> TokenizerBuild:
        """What comes of building the tokenizer, if its structure is sound."""
        judged = found is not None and found.path == TOKENIZER
        if not judged or not request.weights or self.tokenizers is None:
            return TokenizerBuild()
        raw = self.files.read(request.location, ArtifactPath(TOKENIZER))
        return self.tokenizers.build(raw)

    def _told_apart(
        self, request: ValidateRequest, subject: Subject, progress: Progress
    ) -> Subject:
        """The same, seen as the PEFT adapter that it was meant to be, if that can be said.

        The structure is no better for it; but its other defects can be named.
        """
        meant = misnamed_adapter(subject.artifact)
        if meant is not None:
            subject = evolve(subject, kind=Kind.PEFT, model=meant)
        return self._surveyed(request, subject, progress)

    def _surveyed(self, request: ValidateRequest, subject: Subject, progress: Progress) -> Subject:
        if subject.model is None or not request.weights:
            return subject
        survey = self.survey(subject.artifact, subject.model, progress)
        return self._beside_base(request, evolve(subject, survey=survey))

    def _beside_base(self, request: ValidateRequest, subject: Subject) -> Subject:
        """With what the base's weights tell, if they are at hand."""
        if request.base is None or not request.base_weights or self.measure is None:
            return subject
        match subject.model:
            case FusedModel() as model:
                beside = self.measure.of_whole(subject.artifact, model, request.base)
                return evolve(subject, beside_base=beside)
            case LoraModel() | PeftModel() as model:
                found = self.measure.of_adapter(
                    subject.artifact, model, request.base, request.scale
                )
                return evolve(subject, changes=found)
            case None:
                return subject

    def survey(
        self, artifact: ModelArtifact, model: Model, progress: Progress = no_progress
    ) -> WeightSurvey:
        """Statistics of all weight files of ``model``, files in parallel."""
        paths = model.weights_paths if isinstance(model, FusedModel) else (model.weights_path,)
        found = [t for p in paths if (t := artifact.tensor_file(p)) is not None]
        total = sum(t.header.data_bytes for t in found if t.header)
        done = 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            progress("scanning weights", done, total)

        def one(file: TensorFile) -> tuple[Mapping[str, TensorStats], Digest]:
            assert file.header is not None
            hasher = hashlib.sha256()
            with self.files.open(artifact.location, file.path) as reader:
                stats = self.surveyor.survey(
                    reader, file.header, advance=advance, sink=hasher.update
                )
            return stats, Digest("sha256", hasher.hexdigest())

        with ThreadPoolExecutor(max_workers=min(4, max(1, len(found)))) as pool:
            made = dict(zip((t.path.text for t in found), pool.map(one, found), strict=True))
        stats = {path: stats for path, (stats, _) in made.items()}
        digests = {path: digest for path, (_, digest) in made.items()}
        return WeightSurvey(stats, find_duplicates(self.files, artifact, stats), digests)
