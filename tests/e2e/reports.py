"""Reads reports with Python's email package, and says what a mail program would learn of them.

    reports.py FILE...

One line a report, `REPORT subject to`, then one for each of its recipients, `RECIPIENT` with the
fields of RFC 3464 between tabs, and one for what is returned. A report that breaks a rule of RFC
3464, 6522 or 5322 ends the program with the rule.
"""

import re
import sys
from email import message_from_bytes, policy

STATUS = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}")
ADDRESS = re.compile(r"(rfc822|utf-8|[A-Za-z0-9-]+); *\S.*")


def hold(truth, rule):
    if not truth:
        sys.exit(f"{sys.argv[1]}: {rule}")


def read(path):
    with open(path, "rb") as file:
        # A Maildir has the line ends of its system.
        raw = file.read().replace(b"\r\n", b"\n")
    hold(b"\r" not in raw and b"\0" not in raw, "a bare CR, or NUL")
    hold(raw.isascii(), "bytes beyond ASCII")
    hold(all(len(line) <= 998 for line in raw.split(b"\n")), "a line of more than 998 bytes")
    report = message_from_bytes(raw, policy=policy.default)
    hold(report.get_content_type() == "multipart/report", "it is no multipart/report")
    hold(report.get_param("report-type") == "delivery-status", "report-type")
    hold(report["Auto-Submitted"] == "auto-replied", "Auto-Submitted")
    for field in ("From", "To", "Subject", "Date", "Message-ID", "MIME-Version"):
        hold(len(report.get_all(field, [])) == 1, f"not one {field}")
    hold(report["Date"].datetime is not None, "Date")
    parts = list(report.iter_parts())
    # Of a message that is returned whole its sender has to answer for the defects.
    for part in (report, *parts):
        hold(not part.defects, f"defects: {part.defects}")
    kinds = [part.get_content_type() for part in parts]
    hold(kinds[:2] == ["text/plain", "message/delivery-status"], f"parts: {kinds}")
    hold(len(parts) == 3 and kinds[2] in ("text/rfc822-headers", "message/rfc822"), f"{kinds}")
    print("REPORT", report["Subject"], report["To"], sep="\t")
    message, *recipients = parts[1].get_payload()
    hold(message["Reporting-MTA"].startswith("dns; "), "Reporting-MTA")
    if message["Original-Envelope-Id"]:
        print("ENVELOPE", message["Original-Envelope-Id"], sep="\t")
    # The parser gives one empty block for what stands between the last field and the boundary.
    recipients = [block for block in recipients if block.keys()]
    hold(recipients, "nobody is told of")
    explained = parts[0].get_content()
    for block in recipients:
        hold(len(set(block.keys())) == len(block.keys()), "a field twice")
        hold(ADDRESS.fullmatch(block["Final-Recipient"]), "Final-Recipient")
        original = block["Original-Recipient"] or "-"
        hold(original == "-" or ADDRESS.fullmatch(original), "Original-Recipient")
        hold(block["Action"] in ("failed", "delayed", "delivered", "relayed", "expanded"), "Action")
        hold(STATUS.fullmatch(block["Status"]), "Status")
        diagnostic = block["Diagnostic-Code"]
        hold(diagnostic.split(";")[0] in ("smtp", "x-mote"), "Diagnostic-Code")
        if diagnostic.startswith("smtp; "):
            hold(diagnostic[6:9].isdigit(), "an answer without its code")
        fields = (block["Final-Recipient"], original, block["Action"], block["Status"], diagnostic)
        print("RECIPIENT", *fields, sep="\t")
    hold("What happened:" in explained, "nothing is explained")
    if kinds[2] == "message/rfc822":
        returned = parts[2].get_payload()[0].as_bytes()
    else:
        returned = parts[2].get_content().encode()
    hold(len(returned) <= 4096 + 2, "too much is returned")
    print("RETURNED", kinds[2], len(returned), sep="\t")


for path in sys.argv[1:]:
    read(path)
