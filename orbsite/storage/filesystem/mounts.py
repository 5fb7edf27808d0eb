"""The file systems of directories, and mount points. Locks are reliable on local file systems only."""

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
    """Return the type of the network file system with this device number; None if it is local or unknown."""
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in _mounts():
        fields, _, kind = line.partition(" - ")
        if fields.split()[2] == number:
            name = kind.split()[0]
            return name if name in _NETWORK | _NETWORK_FUSE else None
    return None


def is_mount_point(path: Path) -> bool:
    """Tell whether a path without links is a mount point, of a file system or of a single file."""
    return any(os.fsencode(_unescaped(line.split(" ")[4])) == os.fsencode(path) for line in _mounts())


def _mounts() -> list[str]:
    try:
        return _MOUNTS.read_bytes().decode(errors="surrogateescape").split("\n")[:-1]
    except OSError:  # not Linux
        return []


def _unescaped(text: str) -> str:
    """Return a path from mountinfo, where white space and backslashes are escaped as octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
