"""A next hop made of aiosmtpd: writes number and SHA-256 of each body to a file, a line each.

usage: sink.py PORT FILE
"""

import asyncio
import hashlib
import sys

from aiosmtpd.smtp import SMTP


class Notes:
    def __init__(self, path):
        self.file = open(path, "w", buffering=1)

    async def handle_DATA(self, server, session, envelope):
        header, _, body = envelope.content.partition(b"\r\n\r\n")
        number = b"0"
        for line in header.split(b"\r\n"):
            if line.lower().startswith(b"x-number:"):
                number = line[9:].strip()
        self.file.write(f"{int(number)} {hashlib.sha256(body).hexdigest()}\n")
        return "250 2.0.0 Ok"


async def serve(port, path):
    notes = Notes(path)
    make = lambda: SMTP(notes, data_size_limit=None, hostname="sink.test", loop=loop)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(make, "127.0.0.1", port, backlog=128)
    await server.serve_forever()


asyncio.run(serve(int(sys.argv[1]), sys.argv[2]))
