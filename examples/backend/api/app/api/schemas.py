"""From what a client sent to values that the model accepts; each refusal names the field and the rule."""

from collections.abc import Callable
from datetime import date
from typing import Any

from app.errors import InvalidFields
from app.models import NAME_LENGTH, PRIORITIES, STATUSES, TAG_LENGTH

DESCRIPTION_LENGTH = 10_000
TAG_COUNT = 20


def text(value: Any, longest: int, shortest: int = 0) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a string")
    # PostgreSQL stores no NUL, and no database stores half of a surrogate pair.
    if "\x00" in value or any("\ud800" <= char <= "\udfff" for char in value):
        raise ValueError("holds a character that cannot be stored")
    value = value.strip()
    if not shortest <= len(value) <= longest:
        raise ValueError(f"must be {shortest} to {longest} characters long")
    return value


def choice(value: Any, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise ValueError(f"must be one of: {', '.join(allowed)}")
    return value


def day(value: Any) -> date:
    try:
        parsed = date.fromisoformat(value)
    except (TypeError, ValueError):
        parsed = None
    # fromisoformat also reads week dates and dates without dashes.
    if parsed is None or parsed.isoformat() != value:
        raise ValueError("must be a date such as 2026-12-31")
    return parsed


def tag(value: Any) -> str:
    return text(value, TAG_LENGTH, 1).lower()


def tags(value: Any) -> list[str]:
    if not isinstance(value, list) or len(value) > TAG_COUNT:
        raise ValueError(f"must be a list of at most {TAG_COUNT} strings")
    return sorted({tag(item) for item in value})


FIELDS: dict[str, Callable[[Any], Any]] = {
    "name": lambda value: text(value, NAME_LENGTH, 1),
    "description": lambda value: text(value, DESCRIPTION_LENGTH),
    "status": lambda value: choice(value, STATUSES),
    "priority": lambda value: choice(value, PRIORITIES),
    "due_date": lambda value: None if value is None else day(value),
    "tags": tags,
}
DEFAULTS = {"description": "", "status": "planned", "priority": "normal", "due_date": None, "tags": []}


def parse_project(payload: Any, partial: bool = False) -> dict[str, Any]:
    """Values for a project. ``partial`` (PATCH) leaves the fields that were not sent alone."""
    if not isinstance(payload, dict):
        raise InvalidFields({"body": "must be a JSON object"})
    values = {} if partial else dict(DEFAULTS)
    wrong = {}
    for field, value in payload.items():
        if field not in FIELDS:
            wrong[field] = f"is not a field; the fields are: {', '.join(FIELDS)}"
            continue
        try:
            values[field] = FIELDS[field](value)
        except ValueError as error:
            wrong[field] = str(error)
    if not partial and "name" not in payload:
        wrong["name"] = "is required"
    if wrong:
        raise InvalidFields(wrong)
    return values
