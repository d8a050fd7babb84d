"""Frozen option classes to plain JSON values and back, with unknown keys refused."""

import dataclasses
from collections.abc import Mapping
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast, get_args, get_type_hints

import cattrs
from cattrs.gen import make_dict_structure_fn

T = TypeVar("T")


@cache
def _converter() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True)
    converter.register_unstructure_hook(Path, str)
    converter.register_structure_hook(Path, lambda value, _: Path(value))
    converter.register_unstructure_hook(Fraction, str)
    converter.register_structure_hook(Fraction, lambda value, _: Fraction(value))
    converter.register_structure_hook(bool, _exactly(bool))
    converter.register_structure_hook(int, _exactly(int))
    converter.register_structure_hook(float, _number)
    converter.register_structure_hook(str, _exactly(str))
    return converter


def _exactly(kind: type) -> Any:
    def structure(value: object, _: object) -> object:
        if type(value) is not kind:
            raise ValueError(f"expected {kind.__name__}, got {value!r}")
        return value

    return structure


def _number(value: object, _: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"expected a number, got {value!r}")
    return float(value)


def to_plain(value: Any) -> Any:
    """Return `value` (a dataclass, or a nest of them) as dicts, lists, strings and numbers."""
    return _tuples_to_lists(_converter().unstructure(value))


def _tuples_to_lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _tuples_to_lists(v) for k, v in cast("dict[Any, Any]", value).items()}
    if isinstance(value, (list, tuple)):
        return [_tuples_to_lists(v) for v in cast("list[Any]", value)]
    return value


def from_plain(cls: type[T], value: Mapping[str, Any]) -> T:
    """Build a dataclass from plain values.

    Raises:
        ValueError: A key is unknown or missing, or a value has the wrong type; the text names
            each of them.
    """
    converter = _converter()
    if dataclasses.is_dataclass(cls):
        hook = make_dict_structure_fn(cls, converter, _cattrs_forbid_extra_keys=True)
        converter.register_structure_hook(cls, hook)
    try:
        return converter.structure(value, cls)
    except cattrs.BaseValidationError as error:
        problems = "; ".join(cattrs.transform_error(error))
        raise ValueError(
            f"these values do not make a {cls.__name__}: {problems}. "
            "Correct the named fields; `--help` lists those that exist."
        ) from error


def resolve(cls: type[T], config: T | None, options: Mapping[str, Any]) -> T:
    """Join the two ways to give a verb its options: whole, or field by field.

    Args:
        cls: The frozen dataclass that holds the verb's options.
        config: The dataclass passed whole, or None for its defaults.
        options: Fields that replace those of `config`.

    Returns:
        The options.

    Raises:
        TypeError: `config` is of another class, or an option is not a field; the text lists
            the fields.
    """
    if config is not None and not isinstance(config, cls):
        raise TypeError(f"expected options of type {cls.__name__}, got {type(config).__name__}.")
    names = [f.name for f in dataclasses.fields(cast("Any", cls)) if f.init]
    unknown = sorted(set(options) - set(names))
    if unknown:
        raise TypeError(
            f"{', '.join(map(repr, unknown))}: no such option; there are {', '.join(names)}."
        )
    options = _with_floats(cls, options)
    if config is None:
        return cls(**options)
    return cast("T", dataclasses.replace(cast("Any", config), **options)) if options else config


def _with_floats(cls: type, options: Mapping[str, Any]) -> dict[str, Any]:
    """Turn whole numbers into floats where the field is one, so that 5 and 5.0 are one record."""
    kinds = get_type_hints(cls)

    def wants_float(name: str) -> bool:
        kind = kinds[name]
        choices = get_args(kind) or (kind,)
        return float in choices and int not in choices

    return {k: float(v) if type(v) is int and wants_float(k) else v for k, v in options.items()}
