"""What the archive holds, and what can be restored from it. Only arithmetic: nothing here reaches the network.

Each cluster has an archive of its own, named by its system identifier: a cluster that was made anew after a disaster
doesn't write over the one that is to be restored. In an archive lie base backups, segments of the write-ahead log, and
a history file for each timeline after the first. A failover begins a timeline at the end of the one before; a restore
begins one in the middle, and what came after that point stays in the archive, on the timeline that was left.
"""

import dataclasses
import datetime
import re

SEGMENT_BYTES = 16 * 1024 * 1024
SEGMENTS_PER_LOG = 0x100000000 // SEGMENT_BYTES
SEGMENT_NAME = re.compile(r"[0-9A-F]{24}")
HISTORY_NAME = re.compile(r"([0-9A-F]{8})\.history")


class Refused(Exception):
    """What was asked for can't be had; the message says why, and what can."""


@dataclasses.dataclass(frozen=True)
class Stored:
    """An object of the archive."""

    key: str
    stored_at: datetime.datetime


@dataclasses.dataclass(frozen=True)
class Backup:
    id: str
    timeline: int
    first_segment: int
    end_lsn: int
    ended_at: datetime.datetime
    bytes: int


@dataclasses.dataclass(frozen=True)
class Branch:
    """One line of a history file: `timeline` was left at `lsn`."""

    timeline: int
    lsn: int
    by_restore: bool


@dataclasses.dataclass
class Archive:
    cluster: str
    backups: list  # of Backup, oldest first
    segments: dict  # (timeline, number) -> Stored
    histories: dict  # timeline -> (Stored, [Branch], oldest first)

    def newest_timeline(self):
        return max([1, *self.histories, *(timeline for timeline, _ in self.segments)])

    def lineage(self, timeline):
        """The timelines that lead to `timeline`, oldest first, each with the byte at which it was left."""
        branches = self.histories[timeline][1] if timeline in self.histories else []
        return [(branch.timeline, branch.lsn) for branch in branches] + [(timeline, None)]

    def timeline_at(self, moment):
        """The timeline that was being written at `moment`, followed through later failovers.

        A history file is archived when its timeline begins. It may be late, and after a failover that does no harm:
        the later timeline holds all of the earlier one. After a restore it doesn't, so there the moment decides.
        """
        begun = [timeline for timeline, (stored, _) in self.histories.items() if stored.stored_at <= moment]
        timeline = max([1, *begun])
        while True:
            successors = [
                successor
                for successor, (_, branches) in self.histories.items()
                if successor > timeline
                and branches
                and branches[-1].timeline == timeline
                and not branches[-1].by_restore
            ]
            if not successors:
                return timeline
            timeline = min(successors)

    def chain(self, backup, timeline):
        """The segments from the backup's first on, up to the first that is missing, and whether more follow that."""
        starts = []
        first = 0
        for step, left_at in self.lineage(timeline):
            starts.append((first, step))
            first = 0 if left_at is None else left_at // SEGMENT_BYTES
        found = []
        number = backup.first_segment
        while True:
            # The segment in which a timeline was left is complete only on the one that follows.
            step = max((start, step) for start, step in starts if start <= number)[1]
            stored = self.segments.get((step, number))
            if stored is None:
                break
            found.append((segment_name(step, number), stored))
            number += 1
        # Where the last timeline began, or a later segment of it, shows that there was more.
        is_cut = number < starts[-1][0] or any(step == timeline and other > number for step, other in self.segments)
        return found, is_cut

    def backup_before(self, moment, timeline):
        """The last backup that ended before `moment` and lies on the way to `timeline`."""
        left_at = dict(self.lineage(timeline))
        suitable = [
            backup
            for backup in self.backups
            if backup.ended_at <= moment
            and backup.timeline in left_at
            and (left_at[backup.timeline] is None or backup.end_lsn <= left_at[backup.timeline])
        ]
        return suitable[-1] if suitable else None


@dataclasses.dataclass(frozen=True)
class Plan:
    """How to get back to a moment, or to the latest state if there is no moment."""

    archive: Archive
    backup: Backup
    timeline: int
    moment: datetime.datetime | None
    segments: list  # of (name, Stored), in order


def plan(archives, moment, now):
    """Chooses archive, backup and timeline; raises Refused with the reason if there are none."""
    if moment is not None and moment > now:
        raise Refused(f"{show(moment)} is in the future: it is {show(now)}")
    until = moment or now
    choices = []
    for archive in archives:
        timeline = archive.timeline_at(until)
        backup = archive.backup_before(until, timeline)
        if backup is not None:
            choices.append((backup.ended_at, archive, backup, timeline))
    if not choices:
        all_backups = [backup for archive in archives for backup in archive.backups]
        if not all_backups:
            raise Refused("there is no base backup yet: make backup")
        first = min(all_backups, key=lambda backup: backup.ended_at)
        raise Refused(f"no base backup ended before {show(until)}: the first ended at {show(first.ended_at)}")
    _, archive, backup, timeline = max(choices, key=lambda choice: choice[0])
    segments, is_cut = archive.chain(backup, timeline)
    if not segments or segment_number(segments[-1][0]) < backup.end_lsn // SEGMENT_BYTES:
        raise Refused(f"the log that base backup {backup.id} needs is not in the archive: segments are missing")
    if is_cut and (moment is None or segments[-1][1].stored_at < moment):
        last_name, last = segments[-1]
        raise Refused(
            f"the archive has a gap after segment {last_name}: from base backup {backup.id} one can get to about "
            f"{show(last.stored_at)}, and no further until the next base backup"
        )
    return Plan(archive, backup, timeline, moment, segments)


def parse_moment(text, now):
    """A moment in ISO 8601 with a time zone; None for `latest`."""
    if text == "latest":
        return None
    example = now.replace(microsecond=0).isoformat().replace("+00:00", "Z")
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise Refused(f"{text!r} is neither `latest` nor a time such as {example}") from None
    if moment.tzinfo is None:
        raise Refused(f"{text!r} lacks the time zone: for instance {example}, or 2026-01-31T14:00:00+01:00")
    return moment.astimezone(datetime.timezone.utc)


def parse_history(text):
    """The lines of a history file: parent, byte, and in words why it was left there."""
    branches = []
    for line in text.splitlines():
        fields = line.split("\t", 2)
        if len(fields) < 2 or line.lstrip().startswith("#"):
            continue
        reason = fields[2] if len(fields) > 2 else ""
        # Postgres writes "before <time>" or "after <time>" where a target was given.
        branches.append(Branch(int(fields[0]), parse_lsn(fields[1]), reason.startswith(("before ", "after "))))
    return branches


def parse_lsn(text):
    high, low = text.split("/")
    return (int(high, 16) << 32) + int(low, 16)


def segment_name(timeline, number):
    return f"{timeline:08X}{number // SEGMENTS_PER_LOG:08X}{number % SEGMENTS_PER_LOG:08X}"


def segment_timeline(name):
    return int(name[:8], 16)


def segment_number(name):
    return int(name[8:16], 16) * SEGMENTS_PER_LOG + int(name[16:24], 16)


def show(moment):
    return moment.astimezone(datetime.timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")


def show_bytes(count):
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if count >= 10 or unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
