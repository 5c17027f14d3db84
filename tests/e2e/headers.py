"""Reads a mail as mail readers do, by Python's email package, and tells what its header says.

usage: headers.py FILE

A line for each defect, for each address of the fields that hold some, and for Message-ID and Date.
"""

import sys
from email import policy
from email.parser import BytesParser

FIELDS = ["From", "Sender", "Reply-To", "To", "Cc", "Resent-From", "Resent-To"]

sys.stdout.reconfigure(encoding="utf-8")
with open(sys.argv[1], "rb") as file:
    mail = BytesParser(policy=policy.default).parse(file, headersonly=True)
for defect in mail.defects:
    print("defect:", defect)
for name in FIELDS:
    for field in mail.get_all(name, []):
        for defect in field.defects:
            print(f"defect: {name}:", repr(defect))
        for address in field.addresses:
            print(f"{name}: {address.display_name}|{address.addr_spec}")
for name in ["Message-ID", "Date"]:
    print(f"{name}: {len(mail.get_all(name, []))}")
