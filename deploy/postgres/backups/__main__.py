"""`backups COMMAND`: base backups, the archive of the log, and restoring from both."""

import subprocess
import sys

from catalogue import Refused
from cluster import ArchiveBehind, NoPrimary
from store import Unreachable


def commands():
    # Imported when asked for: `scheduled` mostly finds that it is not its turn.
    import recover
    import take

    return {
        # Bad ones have ended the process by now.
        "check-settings": lambda: None,
        "take": take.take,
        "scheduled": take.scheduled,
        "status": take.status,
        "fill-gaps": take.fill_gaps,
        "plan": recover.show_plan,
        "recover": recover.recover,
        "fetch-segment": recover.fetch_segment,
        "swap": recover.swap,
        "finish": recover.finish,
    }


def main():
    known = commands()
    if len(sys.argv) < 2 or sys.argv[1] not in known:
        sys.exit(f"usage: backups {'|'.join(known)} [ARGUMENT...]")
    try:
        known[sys.argv[1]](*sys.argv[2:])
    except (Refused, NoPrimary, ArchiveBehind, Unreachable, RuntimeError) as error:
        sys.exit(f"backups: {error}")
    except subprocess.TimeoutExpired as error:
        sys.exit(f"backups: {error.cmd[0]} took longer than {error.timeout:.0f} s and was ended")


main()
