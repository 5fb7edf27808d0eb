"""Which file system a directory is on, and what is a mount of its own: locks are sure on local ones alone."""

from __future__ import annotations

import os
import re
from pathlib import Path

_MOUNTS = Path("/proc/self/mountinfo")
_NETWORK = frozenset(
    ["nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "virtiofs", "ceph", "afs", "glusterfs", "lustre", "gfs2", "ocfs2"]
)
_NETWORK_FUSE = frozenset(["fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.s3fs", "fuse.rclone", "fuse.davfs"])


def network_file_system(device: int) -> str | None:
    """Return the type of the network file system that a device number stands for; None where it is local or unknown."""
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in _mounts():
        fields, _, kind = line.partition(" - ")
        if fields.split()[2] == number:
            name = kind.split()[0]
            return name if name in _NETWORK | _NETWORK_FUSE else None
    return None


def is_mount_point(path: Path) -> bool:
    """Tell whether something is mounted at a path, a single file too; its links are resolved already."""
    return any(os.fsencode(_unescaped(line.split(" ")[4])) == os.fsencode(path) for line in _mounts())


def _mounts() -> list[str]:
    try:
        return _MOUNTS.read_bytes().decode(errors="surrogateescape").split("\n")[:-1]
    except OSError:  # no Linux
        return []


def _unescaped(text: str) -> str:
    """Return a path of that list, which has white space and backslashes as octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)
