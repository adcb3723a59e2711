"""What an installation may do without, and which extra brings it: `lifeboat[llm]` and the like (docs/install.md)."""

from __future__ import annotations

from dataclasses import dataclass

from models.errors import ExtraMissing


@dataclass(frozen=True, kw_only=True)
class Extra:
    """One of pyproject.toml's optional dependencies."""

    what: str
    """that needs it, as the beginning of a sentence"""
    modules: tuple[str, ...]
    """that it brings and that lifeboat imports itself; top-level ones, except within a namespace that others use too"""
    besides: str = ""
    """what else the installation takes"""


EXTRAS = {
    "forecast": Extra(what="learned forecasts need", modules=("sklearn", "skops", "scipy", "joblib")),
    "libvirt": Extra(
        what="libvirt nodes need",
        modules=("libvirt", "libvirt_qemu"),
        besides=" with libvirt-dev, python3-dev and gcc at hand; files and simulated nodes work without it",
    ),
    "llm": Extra(
        what="a language model needs",
        modules=("openai", "langchain", "langchain_core", "langchain_openai", "httpx2"),
    ),
    "otel": Extra(
        what="spans for OpenTelemetry need",
        modules=("opentelemetry.exporter.otlp.proto.http", "opentelemetry.sdk"),
        besides=", or take `otel` out of the settings",
    ),
    "ray": Extra(what="--backend ray needs", modules=("ray",), besides=", or leave --backend out"),
    "report": Extra(what="charts need", modules=("matplotlib",)),
    "s3": Extra(what="archives in S3 need", modules=("s3fs",)),
    "slack": Extra(what="Slack needs", modules=("slack_bolt", "slack_sdk")),
}


def missing(name: str, module: str = "") -> ExtraMissing:
    """What to say where the extra `name` is not installed; `module` was looked for."""
    extra = EXTRAS[name]
    return ExtraMissing(
        f"{extra.what} the Python package {module or extra.modules[0]}, which is not installed",
        hint=f"install lifeboat[{name}]{extra.besides} (docs/install.md)",
    )


def extra_missing(error: ModuleNotFoundError) -> ExtraMissing | None:
    """What to say of an import that failed for want of an extra; None where no extra has such a module."""
    found = error.name or ""
    return next(
        (missing(name, module) for name, extra in EXTRAS.items() for module in extra.modules if _same(module, found)),
        None,
    )


def _same(module: str, missed: str) -> bool:
    """Whether one of them is, or is part of, the other: the import of `a.b` fails for want of `a` too."""
    return bool(missed) and (f"{missed}.".startswith(f"{module}.") or f"{module}.".startswith(f"{missed}."))
