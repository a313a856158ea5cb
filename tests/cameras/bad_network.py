"""A bad network between an RTSP camera on 127.0.0.1 and who asks it.

Prints "ready PORT" once it listens. Arguments: the port to listen on, or 0 for any; the camera's port; then
  drop=SHARE       of the packets get lost, at random
  swap=SHARE       of them come after the next one
  double=SHARE     of them come twice
  delay=MS         each waits so long, and up to as long again, at random, in their order
  change=SHARE     of them have some of their bytes changed
  stall=N:SECONDS  after N packets nothing comes for so long, again and again
  cut=N            after N packets the connection is closed, again and again
  seed=N           of what is random

By UDP these are datagrams; by TCP the packets of the interleaved stream (RFC 2326 section 10.12), which is not broken where they are lost.
What the camera answers itself passes as it is.
"""

import asyncio
import random
import re
import sys

options = dict(word.split("=", 1) for word in sys.argv[3:])
here, there = int(sys.argv[1]), int(sys.argv[2])
number = lambda name: float(options.get(name, 0))  # noqa: E731
chance = random.Random(int(number("seed")))
stall_after, stall_s = (float(part) for part in options.get("stall", "0:0").split(":"))


class Way:
    """What becomes of the packets on their way to one client."""

    def __init__(self, send, close):
        self.send, self.close, self.kept, self.count, self.queue = send, close, None, 0, asyncio.Queue()
        self.task = asyncio.ensure_future(self.deliver())

    def take(self, packet, header=0):
        """Takes a packet, whose first bytes are the transport's and stay."""
        self.count += 1
        if number("cut") and self.count >= number("cut"):
            self.close()
            return
        if chance.random() < number("drop"):
            return
        if chance.random() < number("change") and len(packet) > header:
            packet = bytearray(packet)
            for _ in range(chance.randint(1, 8)):
                packet[chance.randrange(header, len(packet))] = chance.randrange(256)
            packet = bytes(packet)
        packets = [packet] * (2 if chance.random() < number("double") else 1)
        if self.kept is not None:
            packets, self.kept = packets + self.kept, None
        elif chance.random() < number("swap"):
            packets, self.kept = [], packets
        for packet in packets:
            self.queue.put_nowait((asyncio.get_running_loop().time(), packet))

    async def deliver(self):
        delivered = 0
        while True:
            came, packet = await self.queue.get()
            delivered += 1
            wait = number("delay") * chance.uniform(1, 2) / 1000 + came - asyncio.get_running_loop().time()
            if stall_after and delivered % int(stall_after) == 0:
                wait += stall_s
            if wait > 0:
                await asyncio.sleep(wait)
            self.send(packet)


class Relay(asyncio.DatagramProtocol):
    """One UDP port: what comes from the camera goes to the client on the way, what the client sends goes to the camera."""

    def __init__(self):
        self.camera = self.client = self.way = None

    def connection_made(self, transport):
        self.transport = transport
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data, address):
        if address[1] == self.camera:
            self.way.take(data)
        elif self.camera:
            self.transport.sendto(data, ("127.0.0.1", self.camera))


async def relays_of():
    """A pair of neighbouring ports, for packets and reports."""
    loop = asyncio.get_running_loop()
    while True:
        first, made = await loop.create_datagram_endpoint(Relay, local_addr=("127.0.0.1", 0))
        try:
            if made.port % 2 == 0:
                _, other = await loop.create_datagram_endpoint(Relay, local_addr=("127.0.0.1", made.port + 1))
                return [made, other]
        except OSError:
            pass
        first.close()


async def message(reader):
    """One packet of the interleaved stream, or one message with its body."""
    first = await reader.readexactly(1)
    if first == b"$":
        head = await reader.readexactly(3)
        return first + head + await reader.readexactly(int.from_bytes(head[1:], "big"))
    head = first + await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: *(\d+)", head)
    return head + (await reader.readexactly(int(length.group(1))) if length else b"")


async def client(reader, writer):
    camera_reader, camera_writer = await asyncio.open_connection("127.0.0.1", there, limit=1 << 20)
    writers, relays = [writer, camera_writer], []

    def close():
        for each in writers:
            each.close()

    way = Way(writer.write, close)

    async def questions():
        while True:
            asked = await message(reader)
            ports = re.search(rb"client_port=(\d+)-(\d+)", asked)
            if ports:
                pair = await relays_of()
                for each, port in zip(pair, ports.groups()):
                    each.client = int(port)
                    send = lambda data, each=each: each.transport.sendto(data, ("127.0.0.1", each.client))  # noqa: E731
                    each.way = Way(send, close)
                relays.extend(pair)
                asked = asked.replace(ports.group(0), b"client_port=%d-%d" % (pair[0].port, pair[1].port))
            camera_writer.write(asked)

    async def answers():
        while True:
            answer = await message(camera_reader)
            if answer.startswith(b"$"):
                way.take(answer, header=4)
                continue
            ports = re.search(rb"server_port=(\d+)-(\d+)", answer)
            if ports and len(relays) >= 2:
                pair = relays[-2:]
                for each, port in zip(pair, ports.groups()):
                    each.camera = int(port)
                theirs = re.search(rb"client_port=\d+-\d+", answer)
                answer = answer.replace(ports.group(0), b"server_port=%d-%d" % (pair[0].port, pair[1].port))
                if theirs:
                    answer = answer.replace(theirs.group(0), b"client_port=%d-%d" % (pair[0].client, pair[1].client))
            writer.write(answer)

    both = [asyncio.ensure_future(questions()), asyncio.ensure_future(answers())]
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    finally:
        ways = [way] + [each.way for each in relays]
        for task in both + [each.task for each in ways]:
            task.cancel()
        for each in relays:
            each.transport.close()
        close()


async def main():
    server = await asyncio.start_server(client, "127.0.0.1", here, limit=1 << 20)
    print("ready", server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


asyncio.run(main())
