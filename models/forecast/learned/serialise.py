"""A model as bytes and back, without pickle.

A model file is three lines of text (name and format; the SHA-256 of all that follows; an Ed25519 signature of the
rest's SHA-256, or "unsigned") and then a zip of `about.json` (library versions, feature plan, data window, metrics, calibration)
and `model.skops` (the fitted scikit-learn parts). Reading checks in this order: format, hash, signature, library
versions; only then are the fitted parts rebuilt, and only from the types listed here, and every index in their trees is held
against their size (tree_bounds). So no flipped bit gets as far as a parser, with a trusted key no stranger's file does,
and without one a stranger's file can be wrong but can't end the process.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import sklearn
import skops
import skops.io
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from models.errors import ModelInvalid
from models.forecast.learned.anomaly import AnomalyModel, anomaly_from_json
from models.forecast.learned.calibrate import Calibration
from models.forecast.learned.features.table import plan_from_json
from models.forecast.learned.predict import Forecast, HorizonStep, Member
from models.forecast.learned.reference import reference_from_json
from models.forecast.learned.tree_bounds import require_in_bounds

FORMAT = 3
MAGIC = b"lifeboat-model "
ABOUT, PARTS = "about.json", "model.skops"
TRUSTED = [
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.tree._tree.Tree",
]
_STAMP = (1980, 1, 1, 0, 0, 0)

Model = Forecast | AnomalyModel


def versions() -> dict[str, str]:
    """The library versions a model file depends on."""
    return {"scikit-learn": sklearn.__version__, "skops": skops.__version__, "numpy": np.__version__}


def dumps(model: Model, key: Ed25519PrivateKey | None = None) -> bytes:
    """The model file's bytes; the same model gives the same bytes. Signed when a key is given."""

    about: dict[str, Any] = {"versions": versions(), "about": dict(model.about)}
    if isinstance(model, AnomalyModel):
        about["model"] = "anomaly"
        about["anomaly"] = model.to_json()
        parts: list[Any] = []
    else:
        about["model"] = "forecast"
        about["plan"] = model.plan.to_json()
        about["names"] = list(model.names)
        about["reference"] = None if model.reference is None else model.reference.to_json()
        about["typical"] = [None if np.isnan(v) else float(v) for v in model.typical]
        about["steps"] = [
            {
                "horizon": step.horizon,
                "slope": step.calibration.slope,
                "intercept": step.calibration.intercept,
                "positives": step.calibration.positives,
                "pairs": step.calibration.pairs,
                "members": [
                    {
                        "columns": m.columns.tolist(),
                        "missing": None if m.missing is None else m.missing.tolist(),
                        "logged": m.logged,
                        "weight": m.weight,
                    }
                    for m in step.members
                ],
            }
            for step in model.steps
        ]
        parts = [[member.classifier for member in step.members] for step in model.steps]
    fitted = skops.io.dumps(parts, compression=zipfile.ZIP_DEFLATED, compresslevel=1)
    text = json.dumps(about, indent=1, sort_keys=True, default=str).encode()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(ABOUT, _STAMP), text)
        archive.writestr(zipfile.ZipInfo(PARTS, _STAMP), fitted)
    body = out.getvalue()
    signature = b"unsigned" if key is None else key.sign(_signed(body)).hex().encode()
    rest = signature + b"\n" + body
    return b"\n".join((MAGIC + str(FORMAT).encode(), hashlib.sha256(rest).hexdigest().encode(), rest))


def _signed(body: bytes) -> bytes:
    return MAGIC + str(FORMAT).encode() + b" " + hashlib.sha256(body).digest()


def loads(data: bytes, trusted: Ed25519PublicKey | None = None) -> Model:
    """The model in `data`. With `trusted`, a file that this key did not sign is refused. Raises ModelInvalid."""

    about, fitted = _open(data, trusted)
    try:
        if about["model"] == "anomaly":
            return anomaly_from_json(about["anomaly"], about["about"])
        classifiers = _rebuild(fitted)
        steps = tuple(
            HorizonStep(
                horizon=int(step["horizon"]),
                members=tuple(
                    _member(member, classifier, len(about["names"]))
                    for member, classifier in zip(step["members"], fits, strict=True)
                ),
                calibration=Calibration(
                    float(step["slope"]), float(step["intercept"]), int(step["positives"]), int(step["pairs"])
                ),
            )
            for step, fits in zip(about["steps"], classifiers, strict=True)
        )
        typical = np.array([np.nan if v is None else float(v) for v in about["typical"]])
        reference = about.get("reference")  # files from before there was one
        return Forecast(
            plan_from_json(about["plan"]),
            tuple(about["names"]),
            steps,
            typical,
            about["about"],
            None if reference is None else reference_from_json(reference),
        )
    except (KeyError, IndexError, TypeError, AttributeError, ValueError, OverflowError, RecursionError) as error:
        raise ModelInvalid(f"the model file is not laid out as its version says ({error})") from None


def _member(about: Mapping[str, Any], classifier: Any, features: int) -> Member:
    columns = np.array(about["columns"], dtype=np.int64)
    missing = None if about["missing"] is None else np.array(about["missing"], np.float32)
    if columns.ndim != 1 or ((columns < 0) | (columns >= features)).any():
        raise ValueError("a member looks at features that the model does not have")
    if missing is not None and missing.shape != columns.shape:
        raise ValueError("a member has stand-ins for other features than it looks at")
    weight = float(about["weight"])
    if not 0.0 < weight < np.inf:
        raise ValueError("a member counts for nothing, or for everything")
    require_in_bounds(classifier, columns.size)
    return Member(classifier, columns, missing, bool(about["logged"]), weight)


def describe(data: bytes) -> Mapping[str, Any]:
    """The metadata of a model file, with nothing rebuilt from it. Raises ModelInvalid."""
    return _open(data, None)[0]


def _open(data: bytes, trusted: Ed25519PublicKey | None) -> tuple[dict[str, Any], bytes]:
    head = data[:512].split(b"\n", 3)
    if len(head) < 4 or not head[0].startswith(MAGIC):
        what = "it is empty" if not data else "it does not start as one"
        raise ModelInvalid(f"this is not a whole lifeboat model file: {what}", hint="train it again")
    written = head[0].removeprefix(MAGIC).decode("ascii", "replace")
    if written != str(FORMAT):
        raise ModelInvalid(
            f"the model file is of format {written}, this lifeboat reads format {FORMAT}", hint="train it again"
        )
    rest = data[len(head[0]) + len(head[1]) + 2 :]
    if hashlib.sha256(rest).hexdigest().encode() != head[1]:
        raise ModelInvalid(
            "the model file is truncated or was altered: its SHA-256 does not match", hint="train it again"
        )
    body = rest[len(head[2]) + 1 :]
    if trusted is not None:
        if head[2] == b"unsigned":
            raise ModelInvalid("the model file carries no signature, and a trusted key was given")
        try:
            trusted.verify(bytes.fromhex(head[2].decode("ascii")), _signed(body))
        except (InvalidSignature, ValueError):
            raise ModelInvalid(
                "the model file is not signed by the trusted key: it was altered or is not ours"
            ) from None
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            about = cast("dict[str, Any]", json.loads(archive.read(ABOUT)))
            fitted = archive.read(PARTS)
        library = str(about["versions"]["scikit-learn"])
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        OSError,
        NotImplementedError,
        RuntimeError,
        KeyError,
        TypeError,
        ValueError,
    ):  # RecursionError is a RuntimeError
        raise ModelInvalid("the model file is not laid out as its format says", hint="train it again") from None
    if library.split(".")[:2] != sklearn.__version__.split(".")[:2]:
        raise ModelInvalid(
            f"the model file was written with scikit-learn {library}, this is {sklearn.__version__}",
            hint="train it again",
        )
    return about, fitted


def _rebuild(fitted: bytes) -> Any:
    try:
        strange = sorted(set(skops.io.get_untrusted_types(data=fitted)) - set(TRUSTED))
        if strange:
            raise ModelInvalid(f"the model file holds types that have no place in a model: {', '.join(strange)[:200]}")
        return skops.io.loads(fitted, trusted=TRUSTED)
    except ModelInvalid:
        raise
    except Exception as error:  # skops raises whatever the damaged content makes it raise
        raise ModelInvalid(
            f"the model file's fitted parts cannot be rebuilt ({type(error).__name__}: {error})"
        ) from None
