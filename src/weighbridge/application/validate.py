"""Judge a directory: a bad artifact gives a report, only a broken world raises."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from attrs import evolve, field, frozen

from weighbridge.application.load import classify, read_artifact, read_base_config, read_optional
from weighbridge.application.ports import FileSystem, Progress, Surveyor, no_progress
from weighbridge.domain.artifact import ModelArtifact, Scan, TensorFile
from weighbridge.domain.card import licence_of
from weighbridge.domain.detection import Choice, parse_model
from weighbridge.domain.errors import ArtifactUnreadable, InvalidModelStructure, StructureError
from weighbridge.domain.findings import Rule, Subject, ValidationReport, judge
from weighbridge.domain.models import FusedModel, Kind, LoraModel, Model
from weighbridge.domain.repairing.misnamed import misnamed_adapter
from weighbridge.domain.rules import CATALOGUE
from weighbridge.domain.shipping import CARD
from weighbridge.domain.survey import TensorStats, WeightSurvey


@frozen
class ValidateRequest:
    """``base`` is a directory with the base's config.json; ``base_model`` its name, if said;
    ``scale`` is what MLX multiplied by, if said."""

    location: str
    choice: Choice = field(factory=Choice)
    base: str | None = None
    base_model: str | None = None
    weights: bool = True
    scale: float | None = None


@frozen
class Validate:
    """The use case, over its ports."""

    files: FileSystem
    surveyor: Surveyor
    rules: tuple[Rule, ...] = field(default=CATALOGUE, repr=False)

    def __call__(
        self, request: ValidateRequest, progress: Progress = no_progress
    ) -> ValidationReport:
        """Every finding at once. Raises StorageError only if the storage itself fails."""
        return judge(self._subject(request, progress), self.rules)

    def _subject(self, request: ValidateRequest, progress: Progress) -> Subject:
        base_config = read_base_config(self.files, request.base)
        base_card = read_optional(self.files, request.base, CARD) if request.base else None
        try:
            artifact = read_artifact(self.files, request.location, everything=True)
        except InvalidModelStructure as error:
            empty = ModelArtifact(request.location, Scan(()))
            return Subject(empty, structure_error=error)
        subject = Subject(
            artifact,
            base_config=base_config,
            base_licence=licence_of(base_card or b""),
            base_model=request.base_model,
            scale=request.scale,
        )
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
        return evolve(subject, survey=self.survey(subject.artifact, subject.model, progress))

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

        def one(file: TensorFile) -> tuple[str, Mapping[str, TensorStats]]:
            assert file.header is not None
            with self.files.open(artifact.location, file.path) as reader:
                stats = self.surveyor.survey(reader, file.header, advance=advance)
            return file.path.text, stats

        with ThreadPoolExecutor(max_workers=min(4, max(1, len(found)))) as pool:
            return WeightSurvey(dict(pool.map(one, found)))
