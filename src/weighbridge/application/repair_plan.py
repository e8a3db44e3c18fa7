"""Plan a repair: read headers, documents and, with the original at hand, compare every byte."""

from __future__ import annotations

from attrs import frozen

from weighbridge.application.convert import SafetensorsSource, Wanted, lora_of, plan_conversion
from weighbridge.application.likeness import compare
from weighbridge.application.load import Loaded, load, read_artifact, read_base_config
from weighbridge.application.ports import Converter, FileSystem
from weighbridge.domain.artifact import ArtifactPath, ModelArtifact, Scan
from weighbridge.domain.conversion import Profile
from weighbridge.domain.detection import Detected
from weighbridge.domain.errors import NotConvertible, NotRepairable
from weighbridge.domain.findings import Subject, ValidationReport
from weighbridge.domain.models import Kind, PeftModel
from weighbridge.domain.repairing.broken import find_adapter
from weighbridge.domain.repairing.defects import (
    Means,
    seen_beside,
    seen_in_bytes,
    seen_in_scale,
    seen_in_settings,
)
from weighbridge.domain.repairing.recovery import Recovered, matches, recover_with
from weighbridge.domain.repairing.recovery_alone import KnownScale, recover_alone
from weighbridge.domain.repairing.repair import (
    BaseName,
    RepairPlan,
    choose_base,
    examine,
    found,
    named_bases,
    tidy,
    uncorrected,
)
from weighbridge.domain.tensor_plan import ConversionPlan
from weighbridge.domain.tensors import Header

#: Stands for a base model that is not known, so that the other problems are found as well.
_UNKNOWN_BASE = "unknown/base"


@frozen
class RepairRequest:
    """``original`` is the MLX run that the adapter was made from, ``base`` a directory of the
    base model; ``base_model`` and ``scale`` override what was found. ``output`` is needed
    unless ``dry_run``."""

    location: str
    output: str | None = None
    original: str | None = None
    base: str | None = None
    base_model: str | None = None
    scale: float | None = None
    force: bool = False
    dry_run: bool = False


@frozen
class Examined:
    """The adapter as found, and what validation says of it."""

    artifact: ModelArtifact
    model: PeftModel
    report: ValidationReport


@frozen
class Planned:
    """A plan with what it was made from. ``original`` is None if none was given."""

    examined: Examined
    plan: RepairPlan
    original: Loaded | None


@frozen
class PlanRepair:
    """Used by ``repair``. Writes nothing."""

    files: FileSystem
    converter: Converter

    def __call__(self, request: RepairRequest) -> Planned:
        """Raises NotRepairable with all defects and all that is missing to correct them, and what
        ``find_adapter`` raises."""
        base_config = read_base_config(self.files, request.base)
        artifact = read_artifact(self.files, request.location)
        model = find_adapter(artifact)
        report = examine(Subject(artifact, kind=Kind.PEFT, model=model, base_config=base_config))
        examined = Examined(artifact, model, report)
        if request.original is None:
            return self._alone(request, examined, base_config)
        return self._with_original(request, examined, load(self.files, request.original, Kind.LORA))

    def _with_original(
        self, request: RepairRequest, examined: Examined, original: Loaded
    ) -> Planned:
        lora, model = lora_of(original), examined.model
        tensors, unlike = self._recover(examined, original)
        base = choose_base(request.base_model, (*named_bases(model), lora.base_model))
        conversion = self._conversion(request, examined, original, base, request.scale, unlike)
        findings = examined.report.findings
        named = [f.location.inside or "" for f in findings if f.code == "PE011"]
        settings = [f.location.inside or "" for f in findings if f.code in ("PE026", "PE027")]
        defects = found(
            examined.report,
            Means(original=True, scale=True, base_model=base.value),
            (
                *seen_in_bytes(tensors),
                *seen_beside(model, tensors, named),
                *seen_in_settings(model, conversion.config, settings),
                *seen_in_scale(model, conversion.scale, conversion.config["r"]),
            ),
        )
        conversion = tidy(conversion, model.config, keep_task=False)
        plan = RepairPlan(examined.report, defects, tensors, conversion, uncorrected(defects))
        return Planned(examined, plan, original)

    def _recover(
        self, examined: Examined, original: Loaded
    ) -> tuple[tuple[Recovered, ...], tuple[str, ...]]:
        lora = lora_of(original)
        matched = matches(examined.model.tensors, lora)
        with (
            self.files.open(*place(examined.artifact, examined.model.weights_path)) as held,
            self.files.open(*place(original.artifact, lora.weights_path)) as trained,
        ):
            likeness = compare(
                self.converter,
                matched,
                SafetensorsSource.of(held, header(examined.artifact, examined.model.weights_path)),
                SafetensorsSource.of(trained, header(original.artifact, lora.weights_path)),
            )
        return recover_with(matched, likeness, lora)

    def _alone(
        self,
        request: RepairRequest,
        examined: Examined,
        base_config: dict[str, object] | None,
    ) -> Planned:
        model = examined.model
        alone = recover_alone(model, base_config, request.scale)
        base = choose_base(request.base_model, named_bases(model))
        if alone.model is None or alone.scale is None:
            raise self._refusal(examined, base, alone.reasons)
        meant = Loaded(
            ModelArtifact(request.location, Scan(())), Detected(Kind.LORA, ""), alone.model
        )
        scale = alone.scale
        conversion = self._conversion(request, examined, meant, base, scale.value, ())
        more = seen_in_scale(model, scale.value, conversion.config["r"]) if scale.certain else ()
        means = Means(original=False, scale=scale.certain, base_model=base.value)
        defects = found(examined.report, means, more)
        conversion = tidy(conversion, model.config, keep_task=True)
        unknown = (*_unproved(scale, request), *uncorrected(defects))
        plan = RepairPlan(examined.report, defects, alone.tensors, conversion, unknown)
        return Planned(examined, plan, None)

    def _conversion(
        self,
        request: RepairRequest,
        examined: Examined,
        meant: Loaded,
        base: BaseName,
        scale: float | None,
        reasons: tuple[str, ...],
    ) -> ConversionPlan:
        try:
            wanted = Wanted(base.value or _UNKNOWN_BASE, request.base, scale, Profile.PEFT)
            conversion = plan_conversion(self.files, meant, wanted)
        except NotConvertible as error:
            raise self._refusal(examined, base, (*reasons, *error.reasons)) from error
        if reasons or base.value is None:
            raise self._refusal(examined, base, reasons)
        return conversion

    def _refusal(
        self, examined: Examined, base: BaseName, reasons: tuple[str, ...]
    ) -> NotRepairable:
        missing = (*reasons, *([base.reason] if base.value is None else []))
        return NotRepairable(
            location=examined.artifact.location, reasons=missing, report=examined.report
        )


def _unproved(scale: KnownScale, request: RepairRequest) -> tuple[str, ...]:
    said = f"the scale {scale.value:g} is taken from {scale.because}"
    return (
        "the values are taken as they are; only --original shows whether they are what was "
        "trained, and in the order that their shapes say (safetensors.numpy 0.8.0 writes the bytes "
        "of a transposed view untransposed)",
        said if scale.certain else f"{said}, and nothing proves it; give --original or --scale",
    )


def place(artifact: ModelArtifact, path: str) -> tuple[str, ArtifactPath]:
    """Where to open that file of the artifact."""
    return artifact.location, ArtifactPath(path)


def header(artifact: ModelArtifact, path: str) -> Header:
    """The header of that file, which is known to be sound."""
    found = artifact.tensor_file(path)
    assert found is not None and found.header is not None
    return found.header
