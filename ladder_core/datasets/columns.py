"""Which columns of a Parquet file hold the images and their labels, and what the classes are called."""

import json
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from ladder_core.errors import DatasetError
from ladder_core.text import shown, shown_list
from ladder_schema.errors import ErrorCode

_METADATA = b"huggingface"
_LABEL_NAMES = ("label", "labels", "class", "target")
_HINT = "write it with the datasets library's push_to_hub or to_parquet, an Image and a ClassLabel column"


@dataclass(frozen=True)
class Columns:
    """What to read of a file.

    Attributes:
        image: Name of the column of images.
        label: Name of the column of labels.
        class_names: What ClassLabel says the classes are called; empty where there is none.
    """

    image: str
    label: str
    class_names: tuple[str, ...]


def find_columns(schema: pa.Schema, label_column: str | None) -> Columns:
    """Choose the columns by what the datasets library noted in the schema, else by their types.

    Args:
        schema: Of the file.
        label_column: The column of labels, where the configuration names it.

    Raises:
        DatasetError: There is no such column, or more than one.
    """
    features = _features(schema)
    image = _image_column(schema, features)
    label = label_column or _label_column(schema, features)
    if label not in schema.names or not is_label(schema.field(label).type):
        raise DatasetError(
            ErrorCode.DATASET_UNLABELLED,
            f"the Parquet file has no column {shown(label)} of whole numbers or text (columns: "
            f"{_listed(schema)}): name the column of labels in config.input.label_column",
        )
    return Columns(image, label, _class_names(features.get(label)))


def is_label(kind: pa.DataType) -> bool:
    """Whether a column of this type can hold labels."""
    return bool(pa.types.is_integer(kind) or pa.types.is_boolean(kind) or _is_text(kind))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def is_binary(kind: pa.DataType) -> bool:
    """Whether a column of this type can hold encoded images."""
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_image(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return any(field.name == "bytes" and is_binary(field.type) for field in kind)
    return is_binary(kind)


def _features(schema: pa.Schema) -> dict[str, Any]:
    """Return what the datasets library wrote about the columns; it is a stranger's, and may be anything."""
    try:
        value = json.loads((schema.metadata or {}).get(_METADATA, b"{}"))["info"]["features"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    if not isinstance(value, dict):
        return {}
    return {name: kind for name, kind in value.items() if isinstance(kind, dict)}


def _image_column(schema: pa.Schema, features: dict[str, Any]) -> str:
    possible: list[str] = [field.name for field in schema if _is_image(field.type)]
    found = [name for name in possible if features.get(name, {}).get("_type") == "Image"] or possible
    if len(found) != 1:
        raise DatasetError(
            ErrorCode.DATASET_UNREADABLE,
            f"the Parquet file has {len(found)} columns of encoded images, not one (columns: "
            f"{_listed(schema)}): {_HINT}",
        )
    return found[0]


def _label_column(schema: pa.Schema, features: dict[str, Any]) -> str:
    possible: list[str] = [field.name for field in schema if is_label(field.type)]
    found = [name for name in possible if features.get(name, {}).get("_type") == "ClassLabel"]
    if len(found) != 1:
        found = [name for name in _LABEL_NAMES if name in (found or possible)][:1] or found or possible
    if len(found) != 1:
        raise DatasetError(
            ErrorCode.DATASET_UNLABELLED,
            f"the Parquet file has {len(found)} columns that may hold the labels (columns: "
            f"{_listed(schema)}): name the right one in config.input.label_column",
        )
    return found[0]


def _class_names(feature: Any) -> tuple[str, ...]:  # noqa: ANN401 - parsed JSON
    names = feature.get("names") if isinstance(feature, dict) else None
    if isinstance(names, list) and all(isinstance(name, str) for name in names):
        return tuple(names)
    return ()


def _listed(schema: pa.Schema) -> str:
    return shown_list((f"{field.name}: {field.type}" for field in schema), 10)
