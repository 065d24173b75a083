"""Status and priority, with an index for the filters

Existing projects become planned, with normal priority. The server defaults stay, because the release before this one
goes on inserting rows, without these columns, until traffic is switched.

Revision ID: 0002
Revises: 0001
Create Date: 2026-05-18
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade():
    with op.batch_alter_table("projects") as batch:
        batch.add_column(sa.Column("status", sa.String(20), nullable=False, server_default="planned"))
        batch.add_column(sa.Column("priority", sa.String(20), nullable=False, server_default="normal"))
        batch.create_check_constraint(
            op.f("ck_projects_status_known"), "status IN ('planned', 'active', 'on_hold', 'done')"
        )
        batch.create_check_constraint(op.f("ck_projects_priority_known"), "priority IN ('low', 'normal', 'high')")
    op.create_index("ix_projects_status_priority", "projects", ["status", "priority"])


def downgrade():
    op.drop_index("ix_projects_status_priority", table_name="projects")
    with op.batch_alter_table("projects") as batch:
        # The checks first: the copy on SQLite would carry them over without their columns.
        batch.drop_constraint(op.f("ck_projects_priority_known"), type_="check")
        batch.drop_constraint(op.f("ck_projects_status_known"), type_="check")
        batch.drop_column("priority")
        batch.drop_column("status")
