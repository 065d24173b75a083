"""The author of a note"""

import sqlalchemy as sa
from alembic import op

revision = "a2"
down_revision = "a1"
branch_labels = None
depends_on = None


def upgrade():
    with op.batch_alter_table("notes") as batch:
        batch.add_column(sa.Column("author", sa.String(80), nullable=False, server_default=""))


def downgrade():
    with op.batch_alter_table("notes") as batch:
        batch.drop_column("author")
