"""Submits the mail on standard input by a library: programs.py LIBRARY LINK LOGIN PORT CERT PASSWORD"""

import asyncio
import ssl
import sys

library, link, login, port, cert, password = sys.argv[1:]
sender, recipients, message = "alice@client.test", ["someone@example.net"], sys.stdin.read()

if library == "smtplib":
    import smtplib

    context = ssl.create_default_context(cafile=cert)
    if link == "implicit":
        smtp = smtplib.SMTP_SSL("127.0.0.1", int(port), context=context)
    else:
        smtp = smtplib.SMTP("127.0.0.1", int(port))
    if link == "starttls":
        smtp.starttls(context=context)
    if login:
        smtp.login("alice", password)
    smtp.sendmail(sender, recipients, message)
    smtp.quit()
else:
    import aiosmtplib

    asyncio.run(
        aiosmtplib.send(
            message,
            sender=sender,
            recipients=recipients,
            hostname="127.0.0.1",
            port=int(port),
            use_tls=link == "implicit",
            start_tls=link == "starttls",
            cert_bundle=None if link == "clear" else cert,
            username="alice" if login else None,
            password=password if login else None,
        )
    )
