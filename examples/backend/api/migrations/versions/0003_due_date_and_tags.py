"""Due date and tags

Revision ID: 0003
Revises: 0002
Create Date: 2026-09-07
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade():
    with op.batch_alter_table("projects") as batch:
        batch.add_column(sa.Column("due_date", sa.Date(), nullable=True))
    op.create_index("ix_projects_due_date", "projects", ["due_date"])
    op.create_table(
        "project_tags",
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("tag", sa.String(40), nullable=False),
        sa.PrimaryKeyConstraint("project_id", "tag", name="pk_project_tags"),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name="fk_project_tags_project_id_projects", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_project_tags_tag", "project_tags", ["tag"])


def downgrade():
    op.drop_index("ix_project_tags_tag", table_name="project_tags")
    op.drop_table("project_tags")
    op.drop_index("ix_projects_due_date", table_name="projects")
    with op.batch_alter_table("projects") as batch:
        batch.drop_column("due_date")
