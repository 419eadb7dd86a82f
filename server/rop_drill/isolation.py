"""A network of the drill's own: loopback and no route out.

Source: unshare(2), user_namespaces(7), netdevice(7).
"""

import ctypes
import fcntl
import os
import resource
import socket
import struct
from pathlib import Path

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_IFREQ = struct.Struct("16sh22x")

OWN_NETWORK = "OwnNetwork"
LOOPBACK_ONLY = "LoopbackOnly"


def isolate() -> str:
    """Leave the network of this machine, when the kernel lets us; OwnNetwork or LoopbackOnly.

    Only at the start of a program, before it has threads. Children stay with us.
    """
    # A core dump would carry keys to a disk.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    flags = _CLONE_NEWNET if os.geteuid() == 0 else _CLONE_NEWNET | _CLONE_NEWUSER
    user, group = os.geteuid(), os.getegid()
    if ctypes.CDLL(None, use_errno=True).unshare(flags) != 0:
        return LOOPBACK_ONLY
    if flags & _CLONE_NEWUSER:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    _raise_loopback()
    return OWN_NETWORK


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        told = fcntl.ioctl(control, _SIOCGIFFLAGS, _IFREQ.pack(b"lo", 0))
        _, flags = _IFREQ.unpack(told)
        fcntl.ioctl(control, _SIOCSIFFLAGS, _IFREQ.pack(b"lo", flags | _IFF_UP))
