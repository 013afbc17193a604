# SPDX-License-Identifier: Apache-2.0
"""`python -m tests.harness.sftp_server JSON` serves one folder by SFTP on 127.0.0.1, to one user with a password."""

from __future__ import annotations

import asyncio
import json
import secrets
import sys

import asyncssh

from tests.harness.processes import LOOPBACK


class Plain(asyncssh.SFTPServer):
    """SFTP as in its draft: a file is never renamed over another one, and the extension for that is missing."""

    def posix_rename(self, oldpath: bytes, newpath: bytes) -> None:
        """Refuse."""
        raise asyncssh.SFTPOpUnsupported("no such extension")


async def serve(*, port: int, folder: str, user: str, password: str, plain: bool) -> None:
    """Serve until the process ends."""
    served = Plain if plain else asyncssh.SFTPServer

    class Door(asyncssh.SSHServer):
        def begin_auth(self, username: str) -> bool:
            return True

        def password_auth_supported(self) -> bool:
            return True

        def validate_password(self, username: str, entered: str) -> bool:
            return username == user and secrets.compare_digest(entered, password)

    await asyncssh.listen(
        LOOPBACK,
        port,
        server_factory=Door,
        server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        sftp_factory=lambda channel: served(channel, chroot=folder.encode()),
    )
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(**json.loads(sys.argv[1])))
