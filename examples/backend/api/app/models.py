"""The data model: projects and their tags."""

from datetime import UTC, date, datetime

from app.extensions import db
from sqlalchemy import CheckConstraint, DateTime, ForeignKey, Index, String, Text, TypeDecorator
from sqlalchemy.ext.associationproxy import AssociationProxy, association_proxy
from sqlalchemy.orm import Mapped, mapped_column, relationship

STATUSES = ("planned", "active", "on_hold", "done")
PRIORITIES = ("low", "normal", "high")
NAME_LENGTH = 120
TAG_LENGTH = 40


class UtcDateTime(TypeDecorator):
    """A moment in UTC, aware on both sides. SQLite drops the time zone; this puts it back."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value, dialect):
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value, dialect):
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def utc_now() -> datetime:
    return datetime.now(UTC)


def one_of(column: str, values: tuple[str, ...]) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=f"{column}_known")


class Project(db.Model):
    __tablename__ = "projects"
    __table_args__ = (
        one_of("status", STATUSES),
        one_of("priority", PRIORITIES),
        Index(None, "status", "priority"),
        Index(None, "due_date"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(NAME_LENGTH), unique=True)
    description: Mapped[str] = mapped_column(Text, default="", server_default="")
    # The server defaults stay: the release before a migration goes on inserting until the switch.
    status: Mapped[str] = mapped_column(String(20), default="planned", server_default="planned")
    priority: Mapped[str] = mapped_column(String(20), default="normal", server_default="normal")
    due_date: Mapped[date | None]
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)

    tag_rows: Mapped[list["ProjectTag"]] = relationship(
        cascade="all, delete-orphan", passive_deletes=True, lazy="selectin", order_by="ProjectTag.tag"
    )
    tags: AssociationProxy[list[str]] = association_proxy("tag_rows", "tag", creator=lambda tag: ProjectTag(tag=tag))

    def update(self, values: dict) -> None:
        """Set the given fields. ``tags`` replaces all tags; the ones that stay keep their row."""
        values = dict(values)
        wanted = values.pop("tags", None)
        if wanted is not None:
            kept = [row for row in self.tag_rows if row.tag in wanted]
            known = {row.tag for row in kept}
            self.tag_rows = kept + [ProjectTag(tag=tag) for tag in wanted if tag not in known]
        for field, value in values.items():
            setattr(self, field, value)
        self.updated_at = utc_now()

    def to_dict(self) -> dict:
        return {
            "id": self.id,
            "name": self.name,
            "description": self.description,
            "status": self.status,
            "priority": self.priority,
            "due_date": self.due_date.isoformat() if self.due_date else None,
            "tags": sorted(self.tags),
            "created_at": self.created_at.isoformat(),
            "updated_at": self.updated_at.isoformat(),
        }


class ProjectTag(db.Model):
    __tablename__ = "project_tags"

    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True)
    tag: Mapped[str] = mapped_column(String(TAG_LENGTH), primary_key=True, index=True)
