"""What can be restored from an archive, and what can't: python3 -m unittest, no network needed."""

import datetime
import unittest

from catalogue import SEGMENT_BYTES, Archive, Backup, Branch, Refused, Stored
from catalogue import parse_history, parse_moment, plan, segment_name

START = datetime.datetime(2026, 11, 28, 12, tzinfo=datetime.timezone.utc)


def minute(count):
    return START + datetime.timedelta(minutes=count)


def stored(minutes):
    return Stored("key", minute(minutes))


def lsn(segment):
    return segment * SEGMENT_BYTES + 100


def backup(name, timeline, segment, minutes):
    return Backup(name, timeline, segment, lsn(segment), minute(minutes), 1)


def segments(timeline, first, last, first_minute):
    return {(timeline, number): stored(first_minute + number - first) for number in range(first, last + 1)}


class Catalogue(unittest.TestCase):
    def setUp(self):
        # Timeline 1 until a failover in segment 5, timeline 2 until a restore in segment 8 back to 4 on timeline 1.
        self.failed_over = Archive(
            "one",
            [backup("first", 1, 2, 2), backup("second", 2, 7, 8)],
            {**segments(1, 1, 4, 1), **segments(2, 5, 9, 6)},
            {2: (stored(5), [Branch(1, lsn(5), False)])},
        )
        self.restored = Archive(
            "one",
            self.failed_over.backups,
            {**self.failed_over.segments, **segments(3, 4, 6, 21)},
            {**self.failed_over.histories, 3: (stored(20), [Branch(1, lsn(4), True)])},
        )

    def plan(self, archive, minutes, now=30):
        return plan([archive], None if minutes is None else minute(minutes), minute(now))

    def test_the_last_backup_before_the_moment_is_taken(self):
        self.assertEqual(self.plan(self.failed_over, 7).backup.id, "first")
        self.assertEqual(self.plan(self.failed_over, 9).backup.id, "second")

    def test_the_log_is_followed_through_a_failover(self):
        names = [name for name, _ in self.plan(self.failed_over, 7).segments]
        self.assertEqual(names[:4], [segment_name(1, 2), segment_name(1, 3), segment_name(1, 4), segment_name(2, 5)])

    def test_a_history_that_was_archived_late_hides_nothing(self):
        self.failed_over.histories[2] = (stored(15), [Branch(1, lsn(5), False)])
        self.assertEqual(self.plan(self.failed_over, 9).timeline, 2)

    def test_after_a_restore_a_moment_before_it_is_found_on_the_timeline_that_was_left(self):
        before = self.plan(self.restored, 9)
        self.assertEqual((before.timeline, before.backup.id), (2, "second"))

    def test_after_a_restore_the_latest_is_on_the_new_timeline(self):
        latest = self.plan(self.restored, None)
        self.assertEqual((latest.timeline, latest.backup.id), (3, "first"))
        self.assertEqual(latest.segments[-1][0], segment_name(3, 6))

    def test_a_cluster_made_anew_does_not_hide_the_one_before(self):
        anew = Archive("two", [backup("empty", 1, 1, 25)], segments(1, 1, 2, 25), {})
        archives = [anew, self.failed_over]
        self.assertEqual(plan(archives, minute(9), minute(30)).archive.cluster, "one")
        self.assertEqual(plan(archives, None, minute(30)).archive.cluster, "two")

    def test_a_moment_before_the_first_backup_is_refused(self):
        said = "no base backup ended before 2026-11-28T12:01:00Z: the first ended at 2026-11-28T12:02:00Z"
        with self.assertRaisesRegex(Refused, said):
            self.plan(self.failed_over, 1)

    def test_a_moment_in_the_future_is_refused(self):
        with self.assertRaisesRegex(Refused, "in the future"):
            self.plan(self.failed_over, 31)

    def test_without_any_backup_it_says_so(self):
        with self.assertRaisesRegex(Refused, "no base backup yet"):
            plan([], None, START)

    def test_a_gap_is_no_silent_end(self):
        del self.failed_over.segments[2, 8]
        with self.assertRaisesRegex(Refused, "a gap after segment 000000020000000000000007"):
            self.plan(self.failed_over, None)
        with self.assertRaisesRegex(Refused, "a gap after segment"):
            self.plan(self.failed_over, 11)

    def test_a_gap_before_a_failover_is_noticed_before_the_new_timeline_has_a_segment(self):
        self.failed_over.segments = segments(1, 1, 3, 1)
        with self.assertRaisesRegex(Refused, "a gap after segment 000000010000000000000003"):
            plan([self.failed_over], minute(7), minute(7))

    def test_up_to_a_gap_everything_can_be_restored(self):
        del self.failed_over.segments[2, 9]
        self.assertEqual(self.plan(self.failed_over, None).segments[-1][0], segment_name(2, 8))
        del self.failed_over.segments[2, 7]
        self.assertEqual(self.plan(self.failed_over, 7).segments[-1][0], segment_name(2, 6))

    def test_a_backup_without_its_log_is_refused(self):
        del self.failed_over.segments[2, 7]
        with self.assertRaisesRegex(Refused, "needs is not in the archive"):
            self.plan(self.failed_over, 9)

    def test_moments_need_a_date_a_time_and_a_zone(self):
        self.assertIsNone(parse_moment("latest", START))
        self.assertEqual(parse_moment("2026-11-28T13:00:00+01:00", START), START)
        for wrong in ("", "yesterday", "2026-11-28", "2026-11-28T12:00:00", "12:00Z", "2026-13-01T00:00:00Z"):
            with self.assertRaises(Refused, msg=wrong):
                parse_moment(wrong, START)

    def test_a_history_file_is_read(self):
        text = "1\t0/5000064\tno recovery target specified\n\n2\t1/8000000\tbefore 2026-11-28 12:00:00+00\n"
        self.assertEqual(parse_history(text), [Branch(1, 0x5000064, False), Branch(2, 0x108000000, True)])


if __name__ == "__main__":
    unittest.main()
