"""Projects: create, read, update, delete, filter, search."""

from collections.abc import Callable
from typing import Any

from app.api import schemas
from app.extensions import db
from app.models import PRIORITIES, STATUSES, Project, ProjectTag
from flask import Blueprint, Response, jsonify, request, url_for
from sqlalchemy import Select, func, or_, select
from sqlalchemy.exc import IntegrityError
from werkzeug.exceptions import BadRequest, Conflict, NotFound

projects = Blueprint("projects", __name__)

LARGEST_ID = 2**31 - 1
LARGEST_PAGE = 1_000_000
LARGEST_PER_PAGE = 100
SORTS = {
    "id": Project.id,
    "name": Project.name,
    "due_date": Project.due_date,
    "created_at": Project.created_at,
    "updated_at": Project.updated_at,
}


@projects.get("")
def list_projects() -> dict:
    page = number("page", default=1, largest=LARGEST_PAGE)
    per_page = number("per_page", default=20, largest=LARGEST_PER_PAGE)
    query = filtered(select(Project))
    total = db.session.scalar(select(func.count()).select_from(query.subquery()))
    rows = db.session.scalars(ordered(query).limit(per_page).offset((page - 1) * per_page))
    return {
        "items": [project.to_dict() for project in rows],
        "page": page,
        "per_page": per_page,
        "pages": -(-total // per_page),
        "total": total,
    }


@projects.post("")
def create_project() -> tuple[Response, int, dict[str, str]]:
    project = Project(**schemas.parse_project(request.get_json()))
    db.session.add(project)
    commit(project.name)
    return jsonify(project.to_dict()), 201, {"Location": url_for("projects.get_project", project_id=project.id)}


@projects.get("/<int:project_id>")
def get_project(project_id: int) -> dict:
    return find(project_id).to_dict()


@projects.put("/<int:project_id>")
def replace_project(project_id: int) -> dict:
    return change(project_id, partial=False)


@projects.patch("/<int:project_id>")
def update_project(project_id: int) -> dict:
    return change(project_id, partial=True)


@projects.delete("/<int:project_id>")
def delete_project(project_id: int) -> tuple[str, int]:
    db.session.delete(find(project_id))
    db.session.commit()
    return "", 204


def find(project_id: int) -> Project:
    # A number beyond the column's range is an error in the driver, and surely no project.
    project = db.session.get(Project, project_id) if project_id <= LARGEST_ID else None
    if project is None:
        raise NotFound(f"There is no project {project_id}.")
    return project


def change(project_id: int, partial: bool) -> dict:
    project = find(project_id)
    project.update(schemas.parse_project(request.get_json(), partial=partial))
    commit(project.name)
    return project.to_dict()


def commit(name: str) -> None:
    """The unique constraint decides, not a look-up before: two requests may carry the same name at once."""
    try:
        db.session.commit()
    except IntegrityError as error:
        db.session.rollback()
        if db.session.scalar(select(Project.id).where(Project.name == name)) is None:
            raise
        raise Conflict(f"There is already a project named {name!r}.") from error


def filtered(query: Select) -> Select:
    if wanted := arguments("status", lambda value: schemas.choice(value, STATUSES)):
        query = query.where(Project.status.in_(wanted))
    if wanted := arguments("priority", lambda value: schemas.choice(value, PRIORITIES)):
        query = query.where(Project.priority.in_(wanted))
    for name in arguments("tag", schemas.tag):
        query = query.where(Project.tag_rows.any(ProjectTag.tag == name))
    for before in arguments("due_before", schemas.day):
        query = query.where(Project.due_date < before)
    for words in arguments("q", lambda value: schemas.text(value, 200)):
        query = query.where(
            or_(Project.name.icontains(words, autoescape=True), Project.description.icontains(words, autoescape=True))
        )
    return query


def ordered(query: Select) -> Select:
    wanted = request.args.get("sort", "id")
    column = SORTS.get(wanted.removeprefix("-"))
    if column is None:
        raise BadRequest(f"sort must be one of: {', '.join(SORTS)}; a leading '-' reverses it.")
    # The id settles ties, or a row could show on two pages or on none.
    return query.order_by(column.desc() if wanted.startswith("-") else column, Project.id)


def arguments(name: str, parse: Callable[[str], Any]) -> list[Any]:
    """The values of a query argument, which may be given more than once."""
    try:
        return [parse(value) for value in request.args.getlist(name)]
    except ValueError as error:
        raise BadRequest(f"{name} {error}.") from None


def number(name: str, default: int, largest: int) -> int:
    text = request.args.get(name, str(default))
    # The length bound comes first: int() refuses very long digit strings with an error of its own.
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= largest):
        raise BadRequest(f"{name} must be a number from 1 to {largest}.")
    return int(text)
