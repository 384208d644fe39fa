"""PostgreSQL beyond the contract of a log: who may be its role, the second wall, migrations, what else it keeps."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest

from central_hub.adapters.postgres import hold
from central_hub.adapters.postgres.address import parse_address
from central_hub.adapters.postgres.inspecting import prepare_database, status_of
from central_hub.adapters.postgres.log import PostgresLog
from central_hub.adapters.postgres.migrations import Migration, migrations, prepare
from central_hub.kernel.errors import HubError
from central_hub.kernel.ids import DomainId
from tests.adapters.logs import ACME, OTHER, command, everything, key, record, whole
from tests.postgres import HUB, OWNER, Database, a_server, new_database

WALLED = (
    "log",
    "heads",
    "anchors",
    "gaps",
    "results",
    "told",
    "data_keys",
    "cursors",
    "secrets",
    "members",
    "snapshots",
    "snapshot_parts",
)

NEXT = len(migrations()) + 1


def mint() -> str:
    return "history-1"


async def opened(database: Database, **options: Any) -> PostgresLog:
    return await PostgresLog.open(database.address, mint=mint, **options)


async def refusal(work: Any) -> HubError:
    with pytest.raises(HubError) as refused:
        await work
    return refused.value


# Who may be the hub's role.


async def test_a_superuser_is_refused_with_what_mends_it(database: Database) -> None:
    error = await refusal(PostgresLog.open(parse_address(database.server.address(database.name)), mint=mint))
    assert error.code == "unsafe_store_role"
    assert "superuser" in error.message
    assert "ALTER ROLE admin NOSUPERUSER" in error.next_step
    assert "central-hub store prepare" in error.next_step


async def test_a_role_that_goes_around_row_level_security_is_refused(database: Database) -> None:
    database.sql("CREATE ROLE goes_around LOGIN BYPASSRLS IN ROLE hub")
    error = await refusal(
        PostgresLog.open(parse_address(database.server.address(database.name, "goes_around")), mint=mint)
    )
    assert error.code == "unsafe_store_role"
    assert "BYPASSRLS" in error.message
    assert error.next_step == "ALTER ROLE goes_around NOBYPASSRLS;"
    database.sql("ALTER ROLE goes_around NOBYPASSRLS")
    log = await PostgresLog.open(parse_address(database.server.address(database.name, "goes_around")), mint=mint)
    await log.close()
    database.sql("DROP ROLE goes_around")


async def test_a_role_that_can_become_one_that_goes_around_is_refused(database: Database) -> None:
    database.sql("CREATE ROLE powerful BYPASSRLS; CREATE ROLE harmless LOGIN IN ROLE hub, powerful")
    error = await refusal(
        PostgresLog.open(parse_address(database.server.address(database.name, "harmless")), mint=mint)
    )
    assert error.code == "unsafe_store_role"
    assert "by way of powerful" in error.message
    database.sql("DROP ROLE harmless; DROP ROLE powerful")


async def test_the_tables_owner_is_refused(database: Database) -> None:
    error = await refusal(PostgresLog.open(parse_address(database.server.address(database.name, OWNER)), mint=mint))
    assert error.code == "unsafe_store_role"
    assert "owns" in error.message


async def test_a_role_that_may_truncate_is_refused(database: Database) -> None:
    database.sql(f"GRANT TRUNCATE ON central_hub.log TO {HUB}")
    error = await refusal(opened(database))
    assert error.code == "unsafe_store_role"
    assert error.next_step == f"REVOKE TRUNCATE ON central_hub.log FROM {HUB};"


@pytest.mark.parametrize("table", WALLED)
async def test_a_table_whose_wall_was_taken_down_is_refused(database: Database, table: str) -> None:
    database.sql(f"ALTER TABLE central_hub.{table} NO FORCE ROW LEVEL SECURITY")
    error = await refusal(opened(database))
    assert error.code == "unsafe_store_role"
    assert f"ALTER TABLE central_hub.{table} FORCE ROW LEVEL SECURITY;" in error.next_step


def test_every_table_with_anything_of_a_tenant_is_walled(database: Database) -> None:
    tables = set(database.sql("SELECT tablename FROM pg_tables WHERE schemaname = 'central_hub'").split())
    assert tables == {*WALLED, "head", "migrations"}


@pytest.mark.parametrize("setting", ["fsync", "full_page_writes"])
async def test_a_server_that_may_lose_what_it_confirmed_is_refused(setting: str) -> None:
    server = a_server(**{setting: "off"})
    try:
        error = await refusal(opened(new_database(server)))
        assert error.code == "unsafe_store"
        assert f"ALTER SYSTEM SET {setting} = on" in error.next_step
    finally:
        server.remove()


async def test_commits_are_synchronous_whatever_the_role_was_given(database: Database) -> None:
    database.sql(f"ALTER ROLE {HUB} IN DATABASE {database.name} SET synchronous_commit = off")
    log = await opened(database)
    async with log.aside("*") as connection:
        assert await connection.fetchval("SHOW synchronous_commit") == "on"
    await log.close()


# The second wall.


async def filled(database: Database) -> None:
    log = await opened(database)
    await log.append([command(record(ACME), key=key("a")), command(record(OTHER), key=key("b", OTHER))])
    await log.put_key(ACME, "k", b"wrapped")
    await log.close()


@pytest.mark.parametrize("table", ["log", "heads", "results", "data_keys"])
async def test_a_query_that_names_no_tenant_sees_nothing(database: Database, table: str) -> None:
    await filled(database)
    asked = f"SELECT count(*) FROM central_hub.{table}"
    assert database.sql(asked, role=HUB) == "0"
    assert int(database.sql(asked)) > 0


async def test_a_query_sees_the_tenant_it_names_and_no_other(database: Database) -> None:
    await filled(database)
    asked = "SELECT DISTINCT domain FROM central_hub.log"
    assert database.sql(f"SET hub.domains = 'acme'; {asked}", role=HUB) == "acme"
    assert database.sql(f"SET hub.domains = 'acme'; {asked} WHERE domain = 'other'", role=HUB) == ""
    assert database.sql(f"SET hub.domains = ''; {asked}", role=HUB) == ""


async def test_what_a_transaction_named_is_over_with_it(database: Database) -> None:
    await filled(database)
    connection = await asyncpg.connect(database.text)
    async with connection.transaction():
        await connection.execute("SELECT set_config('hub.domains', 'acme', true)")
        assert await connection.fetchval("SELECT count(*) FROM central_hub.log") == 1
    assert await connection.fetchval("SELECT count(*) FROM central_hub.log") == 0
    await connection.close()


async def test_a_row_of_another_tenant_is_not_written(database: Database) -> None:
    await filled(database)
    row = "('other', 's', 'x', 1, '')"
    with pytest.raises(RuntimeError, match="row-level security"):
        database.sql(f"SET hub.domains = 'acme'; INSERT INTO central_hub.results VALUES {row}", role=HUB)


@pytest.mark.parametrize(
    "statement",
    ["TRUNCATE central_hub.log", "DROP TABLE central_hub.log", "ALTER TABLE central_hub.log DISABLE ROW LEVEL SECURITY",
     "DROP POLICY of_domain ON central_hub.log", "SET ROLE hub_owner", "UPDATE central_hub.log SET data = ''",
     "DELETE FROM central_hub.secrets", "CREATE TABLE central_hub.mine (a int)"],
)  # fmt: skip
async def test_the_hubs_role_changes_no_table_and_no_record(database: Database, statement: str) -> None:
    await filled(database)
    with pytest.raises(RuntimeError, match=r"denied|must be owner"):
        database.sql(statement, role=HUB)


# One hub at a time.


async def test_a_second_hub_is_told_that_the_store_is_taken(database: Database) -> None:
    first = await opened(database)
    assert (await refusal(opened(database))).code == "store_in_use"
    await first.append([command()])
    await first.close()
    await (await opened(database)).close()


async def test_a_hub_whose_lock_went_to_another_writes_no_more(database: Database) -> None:
    first = await opened(database)
    await first.append([command()])
    database.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'central-hub'")
    second = None
    while second is None:
        try:
            second = await opened(database)
        except HubError:  # the first may be quicker to come back
            database.sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'central-hub'"
            )
    await asyncio.sleep(0.5)
    assert (await refusal(first.append([command()]))).code == "store_unavailable"
    assert not first.healthy
    await second.append([command()])
    await second.close()
    async with asyncio.timeout(5):
        while not first.healthy:  # the lock is free again: the first takes up what the second wrote
            await asyncio.sleep(0.05)
    await first.append([command()])
    assert len(await everything(first)) == 3
    assert whole(await first.verify(ACME))
    await first.close()


async def test_a_commit_is_hinted_at_and_the_head_is_the_truth_without_a_hint(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[str] = []
    writing = await opened(database, exclusive=False)
    for hints in (True, False):
        monkeypatch.setattr(hold, "LOOK_S", 30.0 if hints else 0.05)
        reading = await opened(database, exclusive=False)
        await asyncio.sleep(0.2)
        if not hints:
            monkeypatch.setattr(writing._hold, "committed", lambda session: None)
        moved.clear()
        reading.follow(lambda: moved.append("moved"), lambda: None)
        await writing.append([command()])
        async with asyncio.timeout(5):
            while not moved:
                await asyncio.sleep(0.01)
        await reading.close()
    await writing.close()


async def test_what_others_wrote_is_told_of_once(database: Database) -> None:
    reading, writing = [await opened(database, exclusive=False) for _ in range(2)]
    moved: list[str] = []
    reading.follow(lambda: moved.append("moved"), lambda: None)
    await writing.append([command()])
    await asyncio.sleep(hold.LOOK_S * 6)
    assert moved == ["moved"]
    await reading.close()
    await writing.close()


async def test_two_hubs_that_write_at_once_keep_one_order_and_every_chain(database: Database) -> None:
    both = [await opened(database, exclusive=False) for _ in range(2)]
    for turn in range(20):
        batches = [
            [command(record(ACME, f"thing/{turn}-{at}-{n}", id=f"{turn}-{at}-{n}")) for n in range(5)] for at in (0, 1)
        ]
        await asyncio.gather(*(log.append(batch) for log, batch in zip(both, batches, strict=True)))
    records = await everything(both[0])
    assert [one.pos for one in records] == list(range(1, 201))
    assert len({one.id for one in records}) == 200
    for log in both:
        assert whole(await log.verify(ACME))
        await log.close()


# Migrations.


async def owner_of(database: Database) -> Any:
    return await asyncpg.connect(database.server.address(database.name, OWNER))


async def test_preparing_again_is_harmless(database: Database) -> None:
    assert await prepare_database(database.server.address(database.name, OWNER), HUB) == []
    await (await opened(database)).close()


async def test_a_database_that_was_not_prepared_is_refused_with_the_command(database: Database) -> None:
    database.sql("DROP SCHEMA central_hub CASCADE")
    error = await refusal(opened(database))
    assert error.code == "store_not_prepared"
    assert "central-hub store prepare" in error.next_step


async def test_a_migration_moves_on_what_is_there_and_is_remembered(database: Database) -> None:
    await filled(database)
    further = Migration(version=NEXT, name="more", sql="ALTER TABLE central_hub.cursors ADD COLUMN more text")
    connection = await owner_of(database)
    assert await prepare(connection, HUB, [*migrations(), further]) == [f"{NEXT:04d} more"]
    assert await prepare(connection, HUB, [*migrations(), further]) == []
    await connection.close()
    assert (await refusal(opened(database))).code == "store_too_new"


async def test_a_migration_that_fails_leaves_nothing(database: Database) -> None:
    broken = Migration(version=NEXT, name="broken", sql="CREATE TABLE central_hub.half (a int); SELECT 1 / 0")
    connection = await owner_of(database)
    with pytest.raises(asyncpg.DivisionByZeroError):
        await prepare(connection, HUB, [*migrations(), broken])
    await connection.close()
    assert database.sql("SELECT to_regclass('central_hub.half') IS NULL") == "t"
    await (await opened(database)).close()


async def test_a_migration_that_was_altered_is_refused(database: Database) -> None:
    database.sql("UPDATE central_hub.migrations SET checksum = 'another'")
    assert (await refusal(opened(database))).code == "store_altered"


async def test_a_role_that_is_not_there_is_named(database: Database) -> None:
    error = await refusal(prepare_database(database.server.address(database.name, OWNER), "nobody_here"))
    assert error.code == "unsafe_store_role"
    assert "CREATE ROLE nobody_here" in error.next_step


# Letting go of what is old.


async def test_what_is_old_and_behind_a_snapshot_goes_and_the_chain_still_verifies(database: Database) -> None:
    log = await opened(database)
    for number in range(30):
        domain = ACME if number % 3 else OTHER
        await log.append([command(record(domain, time_ms=number), key=key(f"{number}", domain))])
    assert await log.retain(behind_pos=20, before_ms=15, results_before_ms=10) == 15
    assert (await log.read(0, 1))[0].pos == 16
    assert await log.retain(behind_pos=20, before_ms=1_000, results_before_ms=0) == 5
    assert (await log.read(0, 1))[0].pos == 21
    assert await log.lookup(key("9", OTHER)) is None
    assert await log.lookup(key("10")) == b""
    for domain in (ACME, OTHER):
        assert whole(await log.verify(domain))
    await log.close()
    again = await opened(database)
    await again.append([command()])
    assert whole(await again.verify(ACME))
    await again.close()


async def test_a_domain_that_others_hold_in_their_names_is_no_list(database: Database) -> None:
    log = await opened(database)
    for name in ("*", "acme,other"):
        with pytest.raises(AssertionError):
            await log.append([command(record(DomainId(name)))])
    await log.close()


async def test_a_text_that_postgresql_has_no_form_for_is_refused_and_costs_no_connection(database: Database) -> None:
    log = await opened(database)
    for batch in ([command(record(ACME, "thing/\x00"))], [command(key=key("\x00"), result=b"")]):
        assert (await refusal(log.append(batch))).code == "store_unavailable"
        assert log.healthy
    await log.append([command()])
    assert log.losses == 0
    await log.close()


# What an operator is told.


async def test_status_judges_and_measures(database: Database) -> None:
    await filled(database)
    found = await status_of(database.text)
    assert (found["position"], found["records"], found["domains"], found["held_by_a_hub"]) == (2, 2, 2, False)
    assert found["store"] == database.text
    log = await opened(database)
    assert (await status_of(database.text))["held_by_a_hub"] is True
    await log.close()
    assert (await refusal(status_of(database.server.address(database.name)))).code == "unsafe_store_role"


async def test_an_address_where_nobody_listens_is_unavailable_with_every_host_named(database: Database) -> None:
    text = f"postgresql://hub:secret@127.0.0.1:1,127.0.0.1:2/{database.name}"
    error = await refusal(PostgresLog.open(parse_address(text), mint=mint))
    assert error.code == "store_unavailable"
    assert error.internal.count("127.0.0.1:") == 2
    assert "secret" not in error.internal + error.message


async def test_the_host_that_takes_writes_is_found_behind_those_that_do_not(database: Database) -> None:
    text = f"postgresql://{HUB}@127.0.0.1:1,127.0.0.1:{database.server.port}/{database.name}"
    log = await PostgresLog.open(parse_address(text), mint=mint)
    await log.append([command()])
    await log.close()
