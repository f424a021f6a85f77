"""Base backups: taken, counted, expired; and the log's gaps after a failover."""

import datetime
import fcntl
import os
import sys
import time

import catalogue
import cluster
import settings
from store import Store, barman

LOCK = "/run/zillion/backup.lock"
REMAINS_AFTER = datetime.timedelta(days=1)
SEGMENTS_FILLED_MAX = 256


def say(text):
    print(f"backups: {text}", flush=True)


def now():
    return datetime.datetime.now(datetime.timezone.utc)


def take():
    """Takes a base backup of this node, and returns when it can be restored."""
    with open(LOCK, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise catalogue.Refused("a base backup of this node is being taken right now") from None
        identifier = cluster.system_identifier()
        started = time.monotonic()
        say(f"taking a base backup on {os.uname().nodename}")
        connection = ["--host", "/run/zillion", "--user", "postgres", "--dbname", "postgres"]
        barman("backup", identifier, options=["--gzip", "--jobs", "1", "--immediate-checkpoint", *connection])
        # Without the log up to its end it can't be restored.
        cluster.flush()
        store = Store()
        backups = store.backups(identifier)
        newest = backups[-1]
        say(
            f"base backup {newest.id}: {catalogue.show_bytes(newest.bytes)} in {time.monotonic() - started:.0f} s; "
            f"any moment from {catalogue.show(newest.ended_at)} on can be restored from it"
        )
        expire(store, identifier, backups)


def expire(store, identifier, backups):
    """Keeps the newest backups and the log that they need."""
    if len(backups) > settings.KEPT:
        say(f"removing {len(backups) - settings.KEPT} of {len(backups)} base backups, and the log that only they need")
        barman("backup-delete", identifier, options=["--retention-policy", f"REDUNDANCY {settings.KEPT}"])
    store.remove_remains(identifier, now() - REMAINS_AFTER)


def why_due(archive):
    """Why a base backup should be taken now, or nothing."""
    if not archive.backups:
        return "there is none"
    newest = archive.backups[-1]
    if now() - newest.ended_at > datetime.timedelta(hours=settings.EVERY_HOURS):
        return f"the last one is older than {settings.EVERY_HOURS} hours"
    timeline = archive.timeline_at(now())
    if archive.backup_before(now(), timeline) != newest or archive.chain(newest, timeline)[1]:
        return "the archived log has a gap after the last one"
    return None


def scheduled():
    """Run every now and then on every node: one of them takes a base backup if one is due."""
    if not cluster.is_my_turn(os.uname().nodename):
        return
    identifier = cluster.system_identifier()
    reason = why_due(Store().archive(identifier))
    if reason is not None:
        say(f"a base backup is due: {reason}")
        take()


def status():
    """One line on the base backups, for whoever looks at the stack."""
    backups = Store().backups(cluster.system_identifier())
    if not backups:
        print("no base backup yet")
        return
    newest = backups[-1]
    hours = (now() - newest.ended_at).total_seconds() / 3600
    overdue = ", OVERDUE" if hours > settings.EVERY_HOURS + 2 else ""
    print(
        f"{len(backups)} base backups of {catalogue.show_bytes(sum(backup.bytes for backup in backups))}, "
        f"the newest {hours:.1f} h old{overdue}; restorable from {catalogue.show(backups[0].ended_at)} on"
    )


def fill_gaps(history_path):
    """Archives what the former primary left unarchived, as far as this node has it.

    A replica counts every segment that it receives as archived, because the primary archives it. If that dies first,
    nobody does. Called when a new primary archives its history file, which it does before anything else.
    """
    identifier = cluster.system_identifier()
    with open(history_path) as file:
        branches = catalogue.parse_history(file.read())
    if not branches:
        return
    store = Store()
    archived = store.archive(identifier).segments.keys()
    if not archived:
        return
    directory = os.path.dirname(os.path.abspath(history_path))
    first = min(number for _, number in archived)
    left_at = {branch.timeline: branch.lsn // catalogue.SEGMENT_BYTES for branch in branches}
    missing = []
    for name in sorted(os.listdir(directory)):
        if not catalogue.SEGMENT_NAME.fullmatch(name):
            continue
        timeline, number = catalogue.segment_timeline(name), catalogue.segment_number(name)
        # Files beyond the point where the timeline was left are recycled ones, with old contents.
        if first <= number < left_at.get(timeline, 0) and (timeline, number) not in archived:
            missing.append(name)
    for name in missing[:SEGMENTS_FILLED_MAX]:
        store.put_segment(identifier, f"{directory}/{name}")
        print(f"backups: archived {name}, which the former primary had not", file=sys.stderr, flush=True)
