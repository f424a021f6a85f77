"""The running cluster: who is primary, and getting the end of its log into the archive."""

import json
import os
import re
import subprocess
import time
import urllib.error
import urllib.request

import settings

DATA = "/var/lib/postgresql/data/pg"


class NoPrimary(Exception):
    """No Postgres takes writes now."""


class ArchiveBehind(Exception):
    """The end of the log didn't reach the archive in time."""


def control_data(directory, field):
    """What the control file in a data directory says, or nothing where there is none."""
    if not os.path.exists(f"{directory}/global/pg_control"):
        return None
    told = subprocess.run(["pg_controldata", directory], stdout=subprocess.PIPE, text=True, check=True, timeout=10)
    return re.search(rf"^{re.escape(field)}: +(\S.*)$", told.stdout, re.MULTILINE)[1]


def system_identifier(directory=DATA):
    return control_data(directory, "Database system identifier")


def members():
    """What this node's Patroni knows of all: name, role and state."""
    with urllib.request.urlopen("http://127.0.0.1:8008/cluster", timeout=5) as answer:
        return json.load(answer)["members"]


def is_my_turn(name):
    """Backups are the business of the first replica that streams; of the primary while there is none."""
    known = members()
    leading = [member["name"] for member in known if member["role"] == "leader"]
    streaming = sorted(member["name"] for member in known if member["state"] == "streaming")
    return (streaming or leading or [None])[0] == name


def on_primary():
    """A connection to the primary, as the role that may switch segments and not much else."""
    import psycopg2

    try:
        connection = psycopg2.connect(
            host=",".join(settings.POSTGRES_HOSTS),
            dbname="postgres",
            user="backup",
            password=settings.secret("postgres_backup_password"),
            target_session_attrs="read-write",
            connect_timeout=3,
            application_name="backups",
            options="-c statement_timeout=10s",
        )
    except psycopg2.OperationalError as error:
        raise NoPrimary(str(error).strip()) from error
    connection.autocommit = True
    return connection


def flush():
    """Sees to it that everything up to now is in the archive.

    Writes a commit first: recovery stops where it finds a commit after the moment it is to restore, and fails if
    there is none; and a segment without one is not handed to the archive.
    """
    connection = on_primary()
    try:
        cursor = connection.cursor()
        cursor.execute("set synchronous_commit = local")
        cursor.execute("select pg_logical_emit_message(true, 'backups', 'flush')")
        cursor.execute("select pg_walfile_name(pg_current_wal_insert_lsn())")
        segment = cursor.fetchone()[0]
        cursor.execute("select pg_switch_wal()")
        deadline = time.monotonic() + settings.ARCHIVE_SECONDS_MAX
        while True:
            # Postgres marks what is finished and not yet archived, older timelines included.
            cursor.execute(
                "select count(*) from pg_ls_archive_statusdir() where name like '%%.ready' and left(name, 24) <= %s",
                [segment],
            )
            waiting = cursor.fetchone()[0]
            if waiting == 0:
                return
            if time.monotonic() > deadline:
                raise ArchiveBehind(
                    f"{waiting} segments have not reached the archive in {settings.ARCHIVE_SECONDS_MAX} s: "
                    "see the primary's log"
                )
            time.sleep(0.3)
    finally:
        connection.close()
