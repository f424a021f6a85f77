"""Restoring to a moment: a copy of the cluster is brought there beside the running one, and only then takes its place.

The steps, each of which may be cut short and run again: `recover` downloads the base backup into the first node's
volume, replays the log up to the moment and stops, and touches nothing else; `swap` sets the old data of all nodes
aside and clears what Patroni remembers; `finish`, when the cluster runs again, throws the old data away.
"""

import base64
import concurrent.futures
import datetime
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

import catalogue
import cluster
import settings
from catalogue import Refused
from store import Store, barman

# The data volumes of all nodes.
VOLUMES = ["/var/lib/postgresql/volumes/1", "/var/lib/postgresql/volumes/2", "/var/lib/postgresql/volumes/3"]
UNFINISHED = f"{VOLUMES[0]}/restoring"
RECOVERED = f"{VOLUMES[0]}/restored"
# While it is there, a node without data waits for the recovered copy, and never makes an empty cluster.
MARKER = "restore-in-progress"
ASIDE = "before-restore"

SEGMENTS = f"{VOLUMES[0]}/segments"
SEGMENTS_LIST = "list.json"
CONFIGURATION = "/run/zillion/recovery.conf"
ACCESS = "/run/zillion/recovery.hba"
LOG = "/run/zillion/recovery.log"
PREFETCHED = 16
DOWNLOADS_AT_ONCE = 4
DOWNLOAD_ATTEMPTS = 5
PROGRESS_SECONDS = 10
# Whoever was given an id after the moment may still hold it, in a session, a queue or a picture's name; nobody else
# may be given it again.
IDS_SKIPPED = 1_000_000
RAISE_SEQUENCES = """
do $$ declare s record; begin
  for s in select schemaname, sequencename, coalesce(last_value, start_value) as used, max_value from pg_sequences loop
    perform setval(format('%%I.%%I', s.schemaname, s.sequencename)::regclass, least(s.used + %d, s.max_value));
  end loop;
end $$""" % IDS_SKIPPED


def say(text):
    print(f"  {text}", file=sys.stderr, flush=True)


def now():
    return datetime.datetime.now(datetime.timezone.utc)


def make_plan(to):
    return catalogue.plan(Store().archives(), catalogue.parse_moment(to, now()), now())


def show_plan(to):
    """Says what would be restored, or why it can't be."""
    plan = make_plan(to)
    moment = "the latest state in the archive" if plan.moment is None else catalogue.show(plan.moment)
    backup = plan.backup
    print(f"to       {moment}")
    size, ended_at = catalogue.show_bytes(backup.bytes), catalogue.show(backup.ended_at)
    print(f"from     base backup {backup.id}, {size}, ended {ended_at}")
    print(f"through  at most {len(plan.segments)} segments of the log, on timeline {plan.timeline}")


def recover(to):
    """Makes the copy of the cluster as it was at the moment, in the first node's volume."""
    catalogue.parse_moment(to, now())
    try:
        cluster.flush()
    except cluster.NoPrimary:
        say("no Postgres runs: what its last moments left unarchived can't be restored")
    plan = make_plan(to)
    for leftover in (UNFINISHED, RECOVERED, SEGMENTS):
        shutil.rmtree(leftover, ignore_errors=True)
    require_space(plan)
    say(f"downloading base backup {plan.backup.id}")
    barman("restore", plan.archive.cluster, plan.backup.id, UNFINISHED)
    list_segments(plan)
    say("replaying the log")
    reached = replay(plan)
    shutil.rmtree(SEGMENTS)
    os.rename(UNFINISHED, RECOVERED)
    print(reached)


def require_space(plan):
    # A compressed backup is about a fifth of what it holds, at times a tenth; the log is fetched piece by piece.
    wanted = plan.backup.bytes * 10 + 2 * PREFETCHED * catalogue.SEGMENT_BYTES
    free = shutil.disk_usage(VOLUMES[0]).free
    if free < wanted:
        sizes = catalogue.show_bytes(free), catalogue.show_bytes(wanted)
        raise Refused("{} are free for the copy, and it may need {}".format(*sizes))


def list_segments(plan):
    """Writes down what recovery may ask for. What isn't listed doesn't exist, so that a network that fails can't be
    taken for the end of the log."""
    os.makedirs(SEGMENTS)
    store = Store()
    for timeline, (stored, _) in plan.archive.histories.items():
        with open(f"{SEGMENTS}/{timeline:08X}.history", "wb") as file:
            file.write(store.read(stored.key))
    # Postgres begins the timeline after the last one for which it finds a history. One that was used, and whose
    # history never came to the archive, must not be used twice.
    for timeline in range(plan.timeline + 1, newest_timeline_anywhere(plan.archive) + 1):
        if timeline not in plan.archive.histories:
            open(f"{SEGMENTS}/{timeline:08X}.history", "w").close()
    with open(f"{SEGMENTS}/{SEGMENTS_LIST}", "w") as file:
        json.dump([[name, stored.key] for name, stored in plan.segments], file)


def newest_timeline_anywhere(archive):
    timelines = [archive.newest_timeline()]
    for directory in (f"{volume}/{name}" for volume in VOLUMES for name in ("pg", ASIDE)):
        if cluster.system_identifier(directory) == archive.cluster:
            timelines.append(int(cluster.control_data(directory, "Latest checkpoint's TimeLineID")))
            names = map(catalogue.HISTORY_NAME.fullmatch, os.listdir(f"{directory}/pg_wal"))
            timelines += [int(match[1], 16) for match in names if match]
    return max(timelines)


def fetch_segment(name):
    """Downloads a segment and those that will be asked for next. Recovery calls it by restore_command."""
    with open(f"{SEGMENTS}/{SEGMENTS_LIST}") as file:
        listed = json.load(file)
    at = [listed_name for listed_name, _ in listed].index(name)
    for attempt in range(DOWNLOAD_ATTEMPTS):
        wanted = [item for item in listed[at : at + PREFETCHED] if not os.path.exists(f"{SEGMENTS}/{item[0]}.gz")]
        try:
            # Made anew for each attempt, by a member of the object store that answers now.
            store = Store()
            with concurrent.futures.ThreadPoolExecutor(DOWNLOADS_AT_ONCE) as pool:
                list(pool.map(lambda item: download(store, *item), wanted))
            return
        except Exception as error:
            say(f"segment {name}: attempt {attempt + 1} of {DOWNLOAD_ATTEMPTS} failed: {error}")
            time.sleep(2)
    raise RuntimeError(f"segment {name} can't be downloaded")


def download(store, name, key):
    part = f"{SEGMENTS}/{name}.part"
    store.download(key, part)
    os.rename(part, f"{SEGMENTS}/{name}.gz")


def replay(plan):
    """Runs Postgres on the copy until it has become a primary of its own, and stops it. Says what was reached."""
    os.chmod(UNFINISHED, 0o700)
    # The backup was taken of a replica, and this is to be a primary.
    for name in ("standby.signal", "postmaster.pid"):
        if os.path.exists(f"{UNFINISHED}/{name}"):
            os.remove(f"{UNFINISHED}/{name}")
    open(f"{UNFINISHED}/recovery.signal", "w").close()
    with open(ACCESS, "w") as file:
        file.write("local all postgres peer\n")
    with open(CONFIGURATION, "w") as file:
        file.write(configuration(plan))
    with open(LOG, "wb") as log:
        command = ["postgres", "-D", UNFINISHED, "-c", f"config_file={CONFIGURATION}"]
        postgres = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wait_until_promoted(postgres, plan)
        databases = sql("postgres", "select datname from pg_database where datallowconn and not datistemplate").split()
        for database in databases:
            sql(database, RAISE_SEQUENCES)
        sql("postgres", "checkpoint")
    finally:
        if postgres.poll() is None:
            stop(postgres)
    return conclusion(plan)


def configuration(plan):
    target = "" if plan.moment is None else f"recovery_target_time = '{plan.moment:%Y-%m-%d %H:%M:%S.%f+00}'"
    # Archiving is on without a command: what is written on the new timeline is marked for the archive, and goes there
    # when the copy has taken its place.
    return f"""
listen_addresses = ''
unix_socket_directories = '/run/zillion'
hba_file = '{ACCESS}'
shared_buffers = 128MB
max_wal_size = 1GB
hot_standby = off
archive_mode = on
archive_command = ''
restore_command = '/usr/local/lib/zillion/fetch-segment "%f" "%p"'
recovery_target_timeline = '{plan.timeline}'
recovery_target_action = promote
{target}
"""


def wait_until_promoted(postgres, plan):
    started = told = time.monotonic()
    while subprocess.run(["pg_isready", "--quiet", "--host", "/run/zillion"]).returncode != 0:
        if postgres.poll() is not None:
            raise RuntimeError(why_it_failed(plan))
        if time.monotonic() - started > settings.RECOVERY_SECONDS_MAX:
            raise RuntimeError(f"replaying the log took longer than {settings.RECOVERY_SECONDS_MAX} s and was ended")
        if time.monotonic() - told > PROGRESS_SECONDS:
            told = time.monotonic()
            replayed = len(set(re.findall(r'restored log file "([0-9A-F]{24})"', read_log())))
            say(f"{replayed} of at most {len(plan.segments)} segments replayed")
        time.sleep(0.2)


def why_it_failed(plan):
    log = read_log()
    if "before configured recovery target was reached" in log:
        return (
            f"the archive ends before {catalogue.show(plan.moment)}: its last commit is of {last_commit(log)}. "
            "TO=latest restores all that is there"
        )
    return "recovery failed; the end of its log:\n" + "\n".join(log.splitlines()[-20:])


def read_log():
    with open(LOG, errors="replace") as file:
        return file.read()


def last_commit(log):
    found = re.findall(r"last completed transaction was at log time (\S+ \S+)", log)
    return found[-1] if found else "the base backup's own time"


def conclusion(plan):
    timeline = cluster.control_data(UNFINISHED, "Latest checkpoint's TimeLineID")
    moment = "the end of the archive" if plan.moment is None else catalogue.show(plan.moment)
    return f"restored to {moment}; its last commit is of {last_commit(read_log())}; new timeline {timeline}"


def stop(postgres):
    # Fast: disconnect, checkpoint, end.
    postgres.send_signal(signal.SIGINT)
    try:
        postgres.wait(60)
    except subprocess.TimeoutExpired:
        postgres.send_signal(signal.SIGQUIT)
        postgres.wait(10)
        raise RuntimeError("the restored copy did not stop cleanly within 60 s") from None


def sql(database, statement):
    command = ["psql", "--host", "/run/zillion", "--username", "postgres", "--dbname", database, "--no-psqlrc"]
    command += ["--quiet", "--tuples-only", "--no-align", "--set", "ON_ERROR_STOP=1", "--command", statement]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=120).stdout


def swap():
    """Puts the copy where the first node will take it from, sets aside what the nodes have, and makes Patroni forget
    them. All nodes must have been stopped."""
    if not os.path.isdir(RECOVERED):
        raise Refused("there is no recovered copy: run `make restore` again")
    for volume in VOLUMES:
        open(f"{volume}/{MARKER}", "w").close()
        if not os.path.exists(f"{volume}/pg"):
            continue
        if os.path.exists(f"{volume}/{ASIDE}"):
            # Left by an attempt that was cut short: what it set aside is the older, and the one to keep.
            shutil.rmtree(f"{volume}/pg")
        else:
            os.rename(f"{volume}/pg", f"{volume}/{ASIDE}")
    forget_cluster()


def forget_cluster():
    encoded = {"key": base64.b64encode(b"/db/shop/").decode(), "range_end": base64.b64encode(b"/db/shop0").decode()}
    errors = []
    for host in settings.ETCD_HOSTS:
        request = urllib.request.Request(f"http://{host}/v3/kv/deleterange", json.dumps(encoded).encode())
        try:
            urllib.request.urlopen(request, timeout=5).close()
            return
        except (urllib.error.URLError, OSError) as error:
            errors.append(f"{host}: {error}")
    raise RuntimeError(f"etcd keeps what Patroni knew: {'; '.join(errors)}")


def finish():
    """Throws away what was set aside."""
    for volume in VOLUMES:
        shutil.rmtree(f"{volume}/{ASIDE}", ignore_errors=True)
        if os.path.exists(f"{volume}/{MARKER}"):
            os.remove(f"{volume}/{MARKER}")
