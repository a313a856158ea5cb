#!/usr/bin/env python3
"""Follows docs/updates.md word for word on three Debian systems with systemd, sshd and sudo.

    sudo tests/python/follow_docs.py PROGRAMS [--base ROOT] [--keep]

PROGRAMS is a folder with edge-seg and edge-seg-fw for this machine, such as target/release; ROOT a Debian root of `debootstrap
--include=adduser,systemd,systemd-sysv,dbus,openssh-server,sudo`, else one is made. Each system is booted by systemd-nspawn, which needs
root, cgroups and the packages systemd-container, debootstrap and openssh-client. The commands are those of the page's blocks; what is put
in their place is listed in REPLACED, for these systems are PCs and have no web server.
"""

import argparse
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parents[2]
BOARDS = ["camera1", "camera2", "camera3"]
PORT = 22201
REPLACED = {"--boards pi4,pi5": "--boards x86", "pack mini.esb": f"pack {HERE}/runtime/models/mini.esb"}
PASSWORD = "a long password"

passed = []


def ok(what):
    passed.append(what)
    print(f"ok    {what}", flush=True)


def fail(what):
    print(f"FAIL  {what}", flush=True)
    sys.exit(1)


def run(command, **more):
    return subprocess.run(command, check=True, text=True, capture_output=True, **more)


def blocks(page, language="sh"):
    """A page's blocks of a language, by the heading that they stand under."""
    found, heading = {}, ""
    for part in re.split(r"^(## .*)$", (HERE / "docs" / page).read_text(), flags=re.M):
        if part.startswith("## "):
            heading = part[3:]
        else:
            found.setdefault(heading, []).extend(re.findall(rf"^```{language}\n(.*?)^```$", part, flags=re.M | re.S))
    return found


def package(programs, work):
    """The package as its manifest lists it, without what the build tool generates."""
    manifest = tomllib.loads((HERE / "firmware-tools/Cargo.toml").read_text())["package"]["metadata"]["deb"]
    tree = work / "deb"
    for source, target, mode in manifest["assets"]:
        if "manual/" in source or "completions/" in source:
            continue
        found = [programs / Path(source).name] if source.startswith("target/") else sorted((HERE / "firmware-tools").glob(source))
        if not found:
            fail(f"{source}: expected a file, found none")
        for path in found:
            to = tree / target / path.name if target.endswith("/") else tree / target
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, to)
            to.chmod(int(mode, 8))
    unit = tree / "usr/lib/systemd/system/edge-seg.service"
    unit.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(HERE / "firmware-tools/packaging/edge-seg.service", unit)
    control = tree / "DEBIAN"
    control.mkdir()
    (control / "control").write_text(
        "Package: edge-seg\nVersion: 0.0.1\nArchitecture: amd64\nMaintainer: tests\nDepends: adduser\nDescription: edge-seg\n"
    )
    (control / "conffiles").write_text("".join(f"{name}\n" for name in manifest["conf-files"]))
    for script in ["postinst", "prerm", "postrm"]:
        (control / script).write_text((HERE / f"firmware-tools/packaging/scripts/{script}").read_text())
        (control / script).chmod(0o755)
    run(["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "-b", tree, work / "edge-seg.deb"])
    return work / "edge-seg.deb"


class System:
    """A Debian with systemd in a container."""

    def __init__(self, name, base, work, port):
        self.name, self.root, self.port, self.nspawn, self.log = name, work / name, port, None, work / f"{name}.log"
        run(["cp", "-a", base, self.root])
        (self.root / "etc/ssh/sshd_config.d/test.conf").write_text(f"Port {port}\nListenAddress 127.0.0.1\nUseDNS no\n")
        (self.root / "etc/hostname").write_text(f"{name}\n")

    def boot(self):
        command = ["systemd-nspawn", "-q", "-D", str(self.root), "-b", "--register=no", "--keep-unit", "--console=pipe", f"--machine={self.name}"]
        self.nspawn = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log.open("w"), stderr=subprocess.STDOUT)
        end = time.time() + 300
        while time.time() < end:
            time.sleep(1)
            if self.nspawn.poll() is not None:
                fail(f"{self.name}: {self.log.read_text()[-500:]}")
            if self.leader() and self.run("systemctl is-system-running", check=False).stdout.strip() in ("running", "degraded"):
                return
        fail(f"{self.name} does not come up")

    def leader(self):
        children = Path(f"/proc/{self.nspawn.pid}/task/{self.nspawn.pid}/children").read_text().split()
        return children[0] if children else None

    def run(self, line, user="root", check=True):
        enter = ["nsenter", "-t", self.leader(), "-m", "-u", "-i", "-n", "-p", "-r", "-w"]
        command = [*enter, "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "su", user, "-s", "/bin/bash", "-c", f"cd ~; {line}"]
        done = subprocess.run(command, text=True, capture_output=True, timeout=900)
        if check and done.returncode:
            fail(f"{self.name}: {line}: {done.returncode}: {done.stdout}{done.stderr}")
        return done

    def status(self):
        return json.loads(self.run("edge-seg-fw status --json").stdout)

    def stop(self):
        if self.nspawn and self.nspawn.poll() is None:
            leader = self.leader()
            if leader:
                # What systemd takes for a power-off.
                os.kill(int(leader), signal.SIGRTMIN + 4)
            try:
                self.nspawn.wait(60)
            except subprocess.TimeoutExpired:
                self.nspawn.kill()
                self.nspawn.wait()


def typed(block, folder, environment):
    """Runs a block in a terminal, as a person does who answers when a password is asked for."""
    for word, other in REPLACED.items():
        block = block.replace(word, other)
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(folder)
        os.execve("/bin/bash", ["bash", "-exc", block], environment)
    said, end = b"", time.time() + 1500
    answered = 0
    while time.time() < end:
        ready, _, _ = select.select([terminal], [], [], 1)
        if ready:
            try:
                more = os.read(terminal, 65536)
            except OSError:
                break
            if not more:
                break
            said += more
        asked = len(re.findall(rb"[Pp]assword[^\n]*:", said[answered:]))
        if asked and not ready:
            os.write(terminal, f"{PASSWORD}\n".encode())
            answered = len(said)
    _, status = os.waitpid(pid, 0)
    text = said.decode(errors="replace")
    if os.waitstatus_to_exitcode(status):
        fail(f"{block}\n{text}")
    return text


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("programs", type=Path)
    parser.add_argument("--base", type=Path)
    parser.add_argument("--keep", action="store_true")
    arguments = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="edge-seg-docs-", dir=os.environ.get("TMPDIR", "/var/tmp")))
    systems = []
    try:
        base = arguments.base
        if base is None:
            base = work / "base"
            include = "adduser,systemd,systemd-sysv,dbus,openssh-server,sudo"
            mirror = filter(None, [os.environ.get("DEBIAN_MIRROR")])
            run(["debootstrap", "--variant=minbase", f"--include={include}", "bookworm", base, *mirror])
        follow(arguments.programs.resolve(), base, work, systems)
    finally:
        for system in systems:
            system.stop()
        if not arguments.keep:
            shutil.rmtree(work, ignore_errors=True)
    print(f"{len(passed)} passed, 0 failed")


def follow(programs, base, work, systems):
    deb = package(programs, work)
    home = work / "workshop"
    (home / "bin").mkdir(parents=True)
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", home / "id"])
    config = f"UserKnownHostsFile {home}/known\nStrictHostKeyChecking accept-new\nIdentityFile {home}/id\nIdentitiesOnly yes\nHostName 127.0.0.1\n"
    for place, name in enumerate(BOARDS):
        config = f"Host {name}\n  Port {PORT + place}\n" + config if place == 0 else config.replace("UserKnown", f"Host {name}\n  Port {PORT + place}\nUserKnown", 1)
    (home / "ssh_config").write_text(config.replace("UserKnown", "Host *\n  UserKnown", 1))
    for program in ["ssh", "scp"]:
        (home / "bin" / program).write_text(f'#!/bin/sh\nexec /usr/bin/{program} -F {home}/ssh_config "$@"\n')
        (home / "bin" / program).chmod(0o755)
    environment = {"HOME": str(home), "PATH": f"{home}/bin:{programs}:/usr/bin:/bin", "TERM": "dumb", "USER": "operator"}

    sudo_line = next(block for block in blocks("jetson.md")["4. edge-seg"] if "sudoers.d" in block)
    recipe = next(block for block in blocks("updates.md")["Inside a whole-system update"] if "fstab" in block)
    for place, name in enumerate(BOARDS):
        system = System(name, base, work, PORT + place)
        systems.append(system)
        shutil.copy(deb, system.root / "edge-seg.deb")
        system.boot()
        system.run("dpkg -i /edge-seg.deb && systemctl daemon-reload")
        system.run("useradd -m -s /bin/bash pi && mkdir -p ~pi/.ssh && chown pi ~pi/.ssh && echo 'pi ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/010_pi")
        shutil.copy(home / "id.pub", system.root / "home/pi/.ssh/authorized_keys")
        # The lines for sudo and for the log as the page has them, and no other.
        system.run(f"USER=pi; {sudo_line}", user="pi")
        system.run("rm /etc/sudoers.d/010_pi; visudo -c")
        system.run("install -d -o edge-seg -g edge-seg /var/lib/edge-seg/data/pictures")
        shutil.copy(HERE / "examples/pictures/cat.jpg", system.root / "var/lib/edge-seg/data/pictures/cat.jpg")
        system.run("systemctl enable --now edge-seg.service")
    ok("three Debian systems run the package's service under systemd")

    first = systems[0]
    page = blocks("updates.md")
    typed(page["Once: a key"][0], home, environment)
    for system in systems:
        shutil.copy(home / "keys/workshop.pub", system.root / "etc/edge-seg/keys/workshop.pub")
    ok("a key, asked for at a terminal")
    text = typed(page["Each release"][0], home, environment)
    for system in systems:
        status = system.status()
        slot = status["current"]
        if not (slot and status[slot]["status"] == "good" and status[slot]["release"]["serial"] == 7):
            fail(f"{system.name}: expected serial 7 to be good: {status}\n{text}")
    ok("pack, sign, verify, dry run, deploy: serial 7 is good on every board")

    # Rows of the page on sudo: no other file than the user's own, no other command.
    own = "sudo -n edge-seg-fw"
    for line in [f"{own} install x.esb --config /etc/shadow", f"{own} reconfigure /etc/shadow", f"{own} reconfigure /etc/sudoers"]:
        done = first.run(line, user="pi", check=False)
        if done.returncode == 0 or "root:" in done.stdout + done.stderr:
            fail(f"{line}: {done.stdout}{done.stderr}")
    for line in [f"{own} guard --root /tmp", f"{own} prune --root /tmp", f"{own} keygen k", "sudo -n id"]:
        if "password is required" not in first.run(line, user="pi", check=False).stderr:
            fail(f"{line}: expected sudo to refuse it")
    first.run("install -d -m 777 /tmp/out; printf '#!/bin/sh\\nid -u > /tmp/out/who\\n' > ~pi/evil; chmod 755 ~pi/evil")
    shutil.copy(home / "r7.esb", first.root / "home/pi/r7.esb")
    first.run(f"{own} install r7.esb --binary evil --root /var", user="pi", check=False)
    who = first.root / "tmp/out/who"
    if who.exists() and who.read_text().strip() == "0":
        fail("a program that was brought ran as root")
    first.run("rm -rf /var/var /var/etc")
    ok("the line for sudo is no way to root, and reads nobody else's files")

    (home / "fleet.toml").write_text(blocks("updates.md", "toml")["Many boards"][0])
    words = (HERE / "firmware-tools/packaging/edge-seg.toml").read_text()
    (home / "camera.toml").write_text(re.sub(r'(?m)^(source|masks|\[output\]).*$', "", words).replace("[input]", '[input]\nsource = "test:"'))
    text = typed(page["Many boards"][0], home, environment)
    for name, expected in [("camera1", "person, dog"), ("camera2", "person, car")]:
        system = systems[BOARDS.index(name)]
        slot = system.status()["current"]
        config = (system.root / f"var/lib/edge-seg/slots/{slot}/config.toml").read_text()
        if expected not in config or system.status()[slot]["status"] != "good":
            fail(f"{name}: expected the words {expected}\n{config}\n{text}")
        if not (home / "collected" / name / "status.json").exists():
            fail(f"{name}: expected status.json to be fetched\n{text}")
        log = home / "collected" / name / "log.txt"
        # Not only what the service manager says of the service.
        if not log.exists() or f"edge-seg-fw: slot {slot} runs as process" not in log.read_text():
            fail(f"{name}: expected the service's log to be fetched, by a user of the group that the page names\n{text}")
    ok("fleet: status, dry run, deploy, configurations alone, doctor, collect, journal")

    # The guard's runtime is the service's user, and its memory can be read in the service's own sandbox.
    user = first.run("ps -o user= -p $(pgrep -x edge-seg | tail -n 1)", check=False).stdout.strip()
    if user and user != "edge-seg":
        fail(f"the runtime runs as {user}")
    typed(f"edge-seg-fw pack {HERE}/runtime/models/mini.esb --serial 9 -o r9.esb && edge-seg-fw sign r9.esb --key ~/keys/workshop", home, environment)
    typed(
        "edge-seg-fw deploy pi@camera1 --bundle r9.esb --trial-growth-mib 500 --trial-minutes 1 --trial-p95-ms 60000 --wait 900",
        home,
        environment,
    )
    if first.status()["floor"] != 9:
        fail(f"expected serial 9 to be good after a minute: {first.status()}")
    ok("a trial of minutes, latency and memory, in the service's sandbox")

    typed(f"edge-seg-fw pack {HERE}/runtime/models/mini.esb --serial 10 -o r8.esb && edge-seg-fw sign r8.esb --key ~/keys/workshop", home, environment)
    typed(page["Boards that nobody can reach"][0], home, environment)
    second = systems[1]
    second.run("echo 'pi ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/010_pi; mkdir -p /media/usb")
    run(["cp", "-r", f"{home}/web/.", second.root / "media/usb"])
    second.run(page["Boards that nobody can reach"][1], user="pi")
    status = json.loads(second.run("edge-seg-fw status --json --until-settled 300").stdout)
    if status["floor"] != 10 or status[status["current"]]["status"] != "good":
        fail(f"expected the stick's serial 10 to be good: {status}")
    second.run(f"printf 'file:ignored\\n' > /dev/null; echo /media/usb > /etc/edge-seg/pull-from; systemctl start edge-seg-pull.service")
    if "runs mini serial 10 already" not in second.run("journalctl -u edge-seg-pull.service --no-pager").stdout:
        fail("expected the timer's service to look and find nothing new")
    ok("a signed index on a stick, by hand and by the timer's service")

    first.run("mkdir -p /data; echo 'pi ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/010_pi; cp /etc/fstab /etc/fstab.before 2>/dev/null || touch /etc/fstab")
    before = first.status()["current"]
    first.run(recipe, user="pi")
    for _ in range(2):
        if first.run("systemctl is-active edge-seg.service", check=False).stdout.strip() not in ("active", "activating"):
            fail("the service does not run from the other disk: " + first.run("journalctl -u edge-seg -n 20 --no-pager").stdout)
        if "/data/edge-seg" not in first.run("findmnt -no SOURCE /var/lib/edge-seg").stdout or first.status()["current"] != before:
            fail("expected the slots to be on the other disk")
        first.stop()
        first.boot()
    ok("the recipe for another disk, and a start of the system from it")

    # A disk without any room: what is not needed can be freed, and what runs stays.
    third = systems[2]
    # Room for the bundle, and little more.
    third.run("systemctl stop edge-seg; mkdir /small && mount -t tmpfs -o size=$(($(du -sm /var/lib/edge-seg | cut -f 1) + 60))M none /small")
    third.run("cp -a /var/lib/edge-seg/. /small && mount --bind /small /var/lib/edge-seg")
    typed("edge-seg-fw deploy pi@camera3 --bundle r8.esb --no-restart", home, environment)
    third.run("edge-seg-fw rollback; cat /dev/zero > /small/full 2>/dev/null; true")
    freed = third.run("df --output=avail /small | tail -n 1").stdout
    said = third.run("edge-seg-fw prune", check=False)
    now = third.run("df --output=avail /small | tail -n 1").stdout
    if said.returncode != 0 or int(now) < int(freed) + 1000:
        fail(f"prune on a full disk: {said.returncode} {said.stdout}{said.stderr} {freed} {now}")
    ok("prune on a full disk")

    # The slots of this one lie on another disk, whose mount point nobody can remove.
    first.run("systemctl enable --now edge-seg-pull.timer && systemctl stop edge-seg && dpkg --purge edge-seg && systemctl daemon-reload")
    left = first.run("find /var/lib/edge-seg -mindepth 1; ls -d /etc/edge-seg /usr/bin/edge-seg*; find /etc/systemd -name 'edge-seg-pull*'; getent passwd edge-seg", check=False).stdout
    if left.strip() or first.run("systemctl is-active edge-seg-pull.timer", check=False).stdout.strip() == "active":
        fail(f"the purge leaves {left}")
    ok("a purge of a board whose slots lie on another disk")


if __name__ == "__main__":
    main()
