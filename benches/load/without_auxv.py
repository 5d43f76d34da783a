"""Runs a command in which prctl(PR_GET_AUXV) fails: `without_auxv.py COMMAND ARGUMENT...`.

With it rustix asks the kernel where the vDSO is, and reads there; but valgrind has hidden the vDSO and left nothing at that address, so
the process would crash. When the call fails, rustix reads /proc/self/auxv, which valgrind answers as it wants to be seen. A seccomp
filter does that to the binary as it is.
"""

import ctypes
import errno
import os
import platform
import struct
import sys

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
PR_GET_AUXV = 0x41555856
PRCTL = {"x86_64": 157, "aarch64": 167}[platform.machine()]
# Of struct seccomp_data.
NUMBER, FIRST_ARGUMENT = 0, 16
LOAD, JUMP_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, ERRNO = 0x7FFF0000, 0x00050000

FILTER = [
    (LOAD, 0, 0, NUMBER),
    (JUMP_EQUAL, 0, 3, PRCTL),
    (LOAD, 0, 0, FIRST_ARGUMENT),
    (JUMP_EQUAL, 0, 1, PR_GET_AUXV),
    (RETURN, 0, 0, ERRNO | errno.EINVAL),
    (RETURN, 0, 0, ALLOW),
]


def main():
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *instruction) for instruction in FILTER))
    program = ctypes.create_string_buffer(struct.pack("@HP", len(FILTER), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    for call in ((PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0)):
        if libc.prctl(*call):
            raise OSError(ctypes.get_errno(), "prctl")
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
