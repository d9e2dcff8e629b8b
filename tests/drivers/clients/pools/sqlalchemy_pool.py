"""SQLAlchemy's QueuePool over psycopg2: keeps five, overflows, and renews after some seconds. Autocommit: a lost one is idle."""
import shop
from sqlalchemy import create_engine, text

engine = create_engine("postgresql+psycopg2://", pool_size=5, max_overflow=55, pool_recycle=20, isolation_level="AUTOCOMMIT",
                       connect_args={"application_name": shop.APPLICATION})
kept = []  # SQLAlchemy takes back what is garbage; a real leak has a reference somewhere


def serve() -> None:
    with engine.connect() as connection:
        connection.execute(text(shop.GOOD)).all()


def lose() -> None:
    connection = engine.connect()
    connection.execute(text(shop.BAD)).all()
    kept.append(connection)


shop.run(serve, lose)
