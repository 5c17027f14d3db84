"""A next hop made of aiosmtpd: files each message into FOLDER/Maildir/new.

usage: hop.py FOLDER PORT
"""

import asyncio
import os
import sys

from aiosmtpd.smtp import SMTP

FOLDER = os.path.join(sys.argv[1], "Maildir/new")


class Box:
    count = 0

    async def handle_DATA(self, server, session, envelope):
        Box.count += 1
        name = f"{os.getpid()}.{Box.count}"
        with open(f"{sys.argv[1]}/{name}", "wb") as file:
            file.write(envelope.content)
        os.rename(f"{sys.argv[1]}/{name}", f"{FOLDER}/{name}")
        return "250 2.0.0 Ok"


async def serve():
    loop = asyncio.get_running_loop()
    make = lambda: SMTP(Box(), loop=loop, hostname="aiosmtpd.test")
    server = await loop.create_server(make, "127.0.0.1", int(sys.argv[2]), backlog=128)
    await server.serve_forever()


os.makedirs(FOLDER, exist_ok=True)
asyncio.run(serve())
