"""Which journal a database holds: a name of its own, and up to where it is the one it was copied from."""

import uuid

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from service.adapters.sql_dialects import Dialect, check_is_there, open_dialect
from service.adapters.sql_tables import ANCESTOR, NAME_LENGTH, check_tables, facts, journal
from service.errors import StorageUnavailable

_TIMEOUT_S = 5.0
_IDENTITY = "identity"


def identity_of(connection: sa.Connection) -> str | None:
    """The name of the journal; None = it has none yet."""
    found = connection.execute(sa.select(facts.c.value).where(facts.c.name == _IDENTITY)).scalar()
    return None if found is None else str(found)


def identify(connection: sa.Connection) -> str:
    """The name of the journal, which is given one where it has none."""
    found = identity_of(connection)
    return _given(connection) if found is None else found


def renew(url: sa.URL | str) -> int:
    """Gives a journal that was put back from a copy a name of its own; returns its highest ``seq``. Nobody may use it.

    Numbers given to records after the copy was made will be given again. What a model was trained with, and what is
    cached, under the old name, would be taken for what these say.

    Raises:
        StorageUnavailable: there is no journal there, or it cannot be written.
    """
    check_is_there(url)
    dialect = open_dialect(sa.make_url(url), _TIMEOUT_S)
    try:
        return _renew(dialect)
    except SQLAlchemyError as exc:
        raise StorageUnavailable(f"the journal cannot be given another name: {getattr(exc, 'orig', exc)}") from exc
    finally:
        dialect.engine.dispose()


def _renew(dialect: Dialect) -> int:
    with dialect.writing() as connection:
        before = identity_of(connection) if check_tables(connection) else None
        if before is None:
            raise StorageUnavailable("there is no journal in that database")
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"ALTER TABLE {facts.name} ALTER COLUMN name TYPE VARCHAR({NAME_LENGTH})")
        seq = int(connection.execute(sa.select(sa.func.coalesce(sa.func.max(journal.c.seq), 0))).scalar_one())
        _note(connection, ANCESTOR + before, str(seq))
        _given(connection)
    return seq


def _given(connection: sa.Connection) -> str:
    name = uuid.uuid4().hex
    _note(connection, _IDENTITY, name)
    return name


def _note(connection: sa.Connection, name: str, value: str) -> None:
    connection.execute(facts.delete().where(facts.c.name == name))
    connection.execute(facts.insert().values(name=name, value=value))
