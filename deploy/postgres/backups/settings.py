"""Where the backups lie and how they are made: every variable, with its default. Bad ones are named; exit 64."""

import os
import sys

SECRETS = "/run/secrets/zillion"


def _fail(name, value, wanted):
    print(f"backups: {name}={value!r}: {wanted}", file=sys.stderr)
    sys.exit(64)


def _number(name, default, least, most):
    value = os.environ.get(name) or str(default)
    if not value.isdigit() or not least <= int(value) <= most:
        _fail(name, value, f"a whole number from {least} to {most} is needed")
    return int(value)


def _addresses(name, default):
    value = os.environ.get(name) or default
    addresses = [address.strip() for address in value.split(",")]
    if not all(addresses):
        _fail(name, value, "addresses separated by commas are needed")
    return addresses


def secret(name):
    with open(f"{SECRETS}/{name}") as file:
        return file.read()


# The object store's members; whichever answers is used.
ENDPOINTS = _addresses("OBJECTS_ENDPOINTS", "http://objects-1:3900,http://objects-2:3900,http://objects-3:3900")
REGION = os.environ.get("OBJECTS_REGION") or "garage"
BUCKET = os.environ.get("BACKUPS_BUCKET") or "backups"
# A base backup is due when the last one is older than this.
EVERY_HOURS = _number("BACKUP_EVERY_HOURS", 24, 1, 720)
# So many base backups are kept, with the log from the oldest on.
KEPT = _number("BACKUPS_KEPT", 3, 1, 100)
# From so much unarchived log on, it is given up (archive-segment).
ARCHIVE_BACKLOG_MB_MAX = _number("ARCHIVE_BACKLOG_MB_MAX", 2048, 64, 1_000_000)
POSTGRES_HOSTS = _addresses("POSTGRES_HOSTS", "postgres-1,postgres-2,postgres-3")
ETCD_HOSTS = _addresses("ETCD_HOSTS", "etcd-1:2379,etcd-2:2379,etcd-3:2379")

# A base backup or its download that takes longer has hung.
BACKUP_SECONDS_MAX = _number("BACKUP_SECONDS_MAX", 3600, 60, 86400)
# Replaying the log up to the moment that is asked for.
RECOVERY_SECONDS_MAX = _number("RECOVERY_SECONDS_MAX", 3600, 60, 86400)
# How long a backup or a restore waits until the end of the log has reached the archive.
ARCHIVE_SECONDS_MAX = 300
