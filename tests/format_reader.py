#!/usr/bin/env python3
"""A second reader of a mote spool image, written from src/queue/FORMAT.md alone.

format_reader.py IMAGE [DIRECTORY]   one line a message: seq slot done held damaged bytes
With a DIRECTORY each whole message's stream (envelope records, then the message) goes to DIRECTORY/seq,
and its records, one a line as type, flags and value, to DIRECTORY/seq.records.
"""
import struct
import sys

BLOCK, HEAD, GROUP, NO_SLOT, M = 4096, 128, 168, 0xFFFFFFFF, 2**64 - 1


def siphash(key, data, wide=False):
    k0, k1 = struct.unpack("<QQ", key)
    v = [k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D, k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573]

    def rounds(n):
        a, b, c, d = v
        for _ in range(n):
            a = (a + b) & M; b = (b << 13 | b >> 51) & M ^ a; a = (a << 32 | a >> 32) & M
            c = (c + d) & M; d = (d << 16 | d >> 48) & M ^ c
            a = (a + d) & M; d = (d << 21 | d >> 43) & M ^ a
            c = (c + b) & M; b = (b << 17 | b >> 47) & M ^ c; c = (c << 32 | c >> 32) & M
        v[:] = a, b, c, d

    if wide:
        v[1] ^= 0xEE
    tail = data[len(data) // 8 * 8:]
    words = list(struct.unpack(f"<{len(data) // 8}Q", data[:len(data) - len(tail)]))
    for word in words + [int.from_bytes(tail, "little") | (len(data) & 0xFF) << 56]:
        v[3] ^= word; rounds(2); v[0] ^= word
    v[2] ^= 0xEE if wide else 0xFF
    rounds(4)
    result = struct.pack("<Q", v[0] ^ v[1] ^ v[2] ^ v[3])
    if wide:
        v[1] ^= 0xDD; rounds(4)
        result += struct.pack("<Q", v[0] ^ v[1] ^ v[2] ^ v[3])
    return result


image = open(sys.argv[1], "rb").read()
block = lambda n: image[n * BLOCK:(n + 1) * BLOCK]
place = lambda slot: 3 + slot // GROUP * (GROUP + 2) + 2 + slot % GROUP


def holds(n, used, key, ident):
    return block(n)[:8] == siphash(key, block(n)[8:used] + ident + struct.pack("<I", n))


def records(envelope):
    lengths = {4: 4, 5: 32, 6: 0, 7: 0, 8: 1, 10: 1, 12: 12, 14: 0, 15: 5}
    while envelope:
        kind, flags, length = struct.unpack("<BBH", envelope[:4])
        assert kind in range(1, 16) or not flags & 1, "a later version"
        assert len(envelope) >= 4 + length == 4 + lengths.get(kind, length) and length <= 512, "no envelope"
        yield f"{kind} {flags} {envelope[4:4 + length].hex()}\n"
        envelope = envelope[4 + length:]


identity, supers = block(2), []
known = identity[8:24] == b"mote spool\r\n\x1a\0\0\0" and holds(2, BLOCK, identity[44:60], identity[36:44])
assert not known or (identity[24:26], identity[32:36]) == (b"\1\0", bytes(4)), "a later version"
for n in 0, 1:
    ident, key = block(n)[48:56], block(n)[56:72]
    if block(n)[8:16] == b"motesupr" and holds(n, BLOCK, key, ident) and (not known or key == identity[44:60]):
        supers.append((struct.unpack("<QII", block(n)[16:32]), key, ident))
(_, _, slots), key, ident = max(supers)
states, blind, synced = {}, set(), 0
for group in range((slots + GROUP - 1) // GROUP):
    n = 3 + group * (GROUP + 2)
    pages = [block(c) for c in (n, n + 1) if block(c)[32:36] == b"stat" and holds(c, BLOCK, key, ident)]
    if not pages:
        blind.add(group)
        continue
    newest = max(pages, key=lambda page: struct.unpack("<Q", page[8:16]))
    synced = max([synced] + [struct.unpack("<Q", newest[16:24])[0]])
    for at in range(GROUP):
        states[group * GROUP + at] = struct.unpack("<QH14s", newest[64 + at * 24:88 + at * 24])
whole, candidates = {}, []
for slot in range(slots):
    data = block(place(slot))
    kind, used = data[8], HEAD + struct.unpack("<H", data[10:12])[0]
    if used <= BLOCK and holds(place(slot), used, key, ident):
        whole[slot] = data[:used]
        if kind == 2:
            synced = max(synced, struct.unpack("<Q", data[80:88])[0])
    seq, (state, flags, done) = struct.unpack("<Q", data[16:24])[0], states.get(slot, (0, 0, bytes(14)))
    alive = state and not flags & 1
    if alive and slot not in whole or kind != 2 or used > BLOCK or state > seq or state == seq and flags & 1:
        if not alive:
            continue
        seq = state
    candidates.append((slot, seq, (flags, done) if state == seq else (0, bytes(14))))
found, used = [], set()
for slot, seq, (flags, done) in candidates:
    chain = []
    stream, binding = [], b""
    ok = slot in whole and whole[slot][8] == 2 and whole[slot][16:24] == struct.pack("<Q", seq)
    if ok:
        draft, at, count, envelope_len, _, message_len = struct.unpack("<QIIIIQ", whole[slot][32:64])
        for index in range(count - 1):
            body = whole.get(at, bytes(HEAD))
            chain.append(at)
            ok = ok and body[8] == 1 and struct.unpack("<IQ", body[12:24]) == (index, draft)
            stream.append(body[HEAD:])
            binding += struct.pack("<I", place(at) & NO_SLOT) + body[:8]
            at = struct.unpack("<I", body[24:28])[0] if ok else NO_SLOT
        stream = b"".join(stream + [whole[slot][HEAD:]])
        ok = ok and at == slot and whole[slot][88:104] == siphash(key, binding, True)
        ok = ok and len(stream) == envelope_len + message_len
    used.update(chain if ok else [])
    if ok or seq <= synced:
        held = bool(flags & 2) or slot // GROUP in blind or not ok
        found.append((seq, slot, int.from_bytes(done, "little"), int(held), int(not ok), len(stream) if ok else 0))
    if ok and len(sys.argv) > 2:
        open(f"{sys.argv[2]}/{seq}", "wb").write(stream)
        open(f"{sys.argv[2]}/{seq}.records", "w").writelines(records(stream[:envelope_len]))
for message in found:
    if message[1] not in used:
        print(*message)
