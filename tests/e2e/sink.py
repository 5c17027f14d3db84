"""A next hop made of aiosmtpd: writes number and SHA-256 of each body to a file, a line each.

usage: sink.py PORT FILE [LOGINS [MECHANISM...]]

With LOGINS, a file of one line `user password` that is read at each login, nobody sends mail without,
by one of the mechanisms only; the file beside FILE named logins has a line for each try.
"""

import asyncio
import base64
import hashlib
import sys

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword


class Notes:
    def __init__(self, path, logins):
        self.file = open(path, "w", buffering=1)
        self.tries = open(path + ".logins", "w", buffering=1)
        self.logins = logins

    def check(self, mechanism, user, password):
        with open(self.logins, "rb") as file:
            good = file.read().split() == [user, password]
        self.tries.write(f"{mechanism} {'good' if good else 'bad'}\n")
        return good

    def authenticate(self, server, session, envelope, mechanism, data):
        return AuthResult(success=self.check(mechanism, data.login, data.password), handled=False)

    async def by_token(self, server, args, name, refusal):
        data = base64.b64decode(args[1]) if len(args) > 1 else await server.challenge_auth("")
        fields = dict(field.split(b"=", 1) for field in data.split(b"\x01") if b"=" in field)
        user = fields.get(b"user") or fields[b"n,a"].rstrip(b",").replace(b"=2C", b",")
        if self.check(name, user, fields[b"auth"].removeprefix(b"Bearer ")):
            return AuthResult(success=True)
        await server.challenge_auth(refusal)
        return AuthResult(success=False, handled=False)

    async def auth_XOAUTH2(self, server, args):
        return await self.by_token(server, args, "XOAUTH2", '{"status":"400","schemes":"Bearer"}')

    async def auth_OAUTHBEARER(self, server, args):
        return await self.by_token(server, args, "OAUTHBEARER", '{"status":"invalid_token"}')

    async def handle_DATA(self, server, session, envelope):
        header, _, body = envelope.content.partition(b"\r\n\r\n")
        number = b"0"
        for line in header.split(b"\r\n"):
            if line.lower().startswith(b"x-number:"):
                number = line[9:].strip()
        self.file.write(f"{int(number)} {hashlib.sha256(body).hexdigest()}\n")
        return "250 2.0.0 Ok"


async def serve(port, path, logins=None, *mechanisms):
    notes = Notes(path, logins)
    options = {"data_size_limit": None, "hostname": "sink.test"}
    if logins:
        every = ["PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER"]
        options["auth_exclude_mechanism"] = [name for name in every if name not in mechanisms]
        options |= {"authenticator": notes.authenticate, "auth_required": True}
        options["auth_require_tls"] = False
    make = lambda: SMTP(notes, loop=loop, **options)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(make, "127.0.0.1", port, backlog=128)
    await server.serve_forever()


asyncio.run(serve(int(sys.argv[1]), *sys.argv[2:]))
