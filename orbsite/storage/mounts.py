"""Which file system a directory is on: locks are sure on local ones alone."""

from __future__ import annotations

import os
from pathlib import Path

_MOUNTS = Path("/proc/self/mountinfo")
_NETWORK = frozenset(
    ["nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "virtiofs", "ceph", "afs", "glusterfs", "lustre", "gfs2", "ocfs2"]
)
_NETWORK_FUSE = frozenset(["fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.s3fs", "fuse.rclone", "fuse.davfs"])


def network_file_system(device: int) -> str | None:
    """Return the type of the network file system that a device number stands for; None where it is local or unknown."""
    try:
        mounts = _MOUNTS.read_text(errors="replace")
    except OSError:  # no Linux
        return None
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in mounts.splitlines():
        fields, _, kind = line.partition(" - ")
        if fields.split()[2] == number:
            name = kind.split()[0]
            return name if name in _NETWORK | _NETWORK_FUSE else None
    return None
