"""Started in front of every program of the workload, so that none of them outlives the demo, however that ends.

Run as `python -I -S launch.py PARENT USER PROGRAM ARGUMENT...`; standard library only. It leaves the terminal's
process group (Ctrl-C is for the demo, which ends its programs in order), becomes USER ("-" for nobody else), asks
the kernel for SIGKILL when the demo goes, and then becomes PROGRAM. The order counts: the kernel forgets the wish
when a process changes its user.
"""

import ctypes
import os
import pwd
import signal
import sys

_PR_SET_PDEATHSIG = 1


def become(user: str) -> None:
    """Take the rights of `user`, and no others."""
    entry = pwd.getpwnam(user)
    os.setgroups([entry.pw_gid])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)


def main(parent: str, user: str, *command: str) -> None:
    """Become the program; does not return."""
    os.setsid()
    if user != "-":
        become(user)
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):
        sys.exit(1)
    try:
        os.execvp(command[0], command)  # noqa: S606 -- a list of arguments, no shell
    except OSError as error:
        sys.exit(f"{command[0]}: {error.strerror}")


if __name__ == "__main__":
    main(*sys.argv[1:])
