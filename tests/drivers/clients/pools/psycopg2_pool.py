"""psycopg2's own pool: keeps two sessions, opens more when it must and closes those again. A lost one stays in a transaction."""
import shop
from psycopg2.pool import ThreadedConnectionPool

pool = ThreadedConnectionPool(2, 60, application_name=shop.APPLICATION)


def ask(sql: str):
    connection = pool.getconn()
    with connection.cursor() as cursor:
        cursor.execute(sql)
        cursor.fetchall()
    return connection


def serve() -> None:
    pool.putconn(ask(shop.GOOD))


shop.run(serve, lambda: ask(shop.BAD))
