"""Has Home Assistant itself take what `edge-seg run --mqtt` publishes: its MQTT integration, states, registries, services and log.

usage: check_home_assistant.py PROGRAM

Needs mosquitto, and the packages of home_assistant.lock. Exit codes: 0 all is well, 1 something is wrong.
"""

import asyncio
import json
import logging
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from homeassistant import bootstrap, config_entries, core, loader
from homeassistant.helpers import device_registry, entity_registry, issue_registry
from homeassistant.setup import async_setup_component

RULES = """
[[zone]]
name = "left"
points = [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]
[[line]]
name = "gate"
points = [[0.5, 0], [0.5, 1]]
[[rule]]
name = "NAME"
when = { word = "sky", score_above = 0 }
"""
# The same name for a word and a rule, one without a Latin letter, and letters of both cases.
WORDS = ["sky", "café", "犬", "Dog", "traffic light"]
THINGS = ["sky_count", "left_sky", "left_sky_entered", "left_sky_left", "gate_sky_to_the_right", "gate_sky_to_the_left"]
WITHIN_S = 40
ENTRY = "broker"


class Log(logging.Handler):
    """Whatever Home Assistant warns about."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.said = []

    def emit(self, record):
        # A word about Home Assistant's own code is not about what it was sent.
        if record.name != "homeassistant.helpers.frame":
            self.said.append(f"{record.levelname} {record.name}: {record.getMessage()}")


class Camera:
    def __init__(self, program, folder, port, rules):
        self.rules = folder / "rules.toml"
        self.rule(rules)
        self.command = [program, "run", "--source", "test:?size=64x48&fps=5", "--size", "64", "--background", "0", "--tags", ", ".join(WORDS)]
        self.command += ["--things", "sky", "--rules", str(self.rules), "--mqtt", f"mqtt://127.0.0.1:{port}", "--mqtt-name", "cam", "--mqtt-interval", "0.2"]
        self.log = open(folder / "camera.log", "a")

    def rule(self, name):
        self.rules.write_text(RULES.replace("NAME", name))

    async def start(self):
        self.process = await asyncio.create_subprocess_exec(*self.command, stdout=subprocess.DEVNULL, stderr=self.log)

    async def end(self, how=signal.SIGTERM):
        if self.process.returncode is None:
            self.process.send_signal(how)
            await self.process.wait()


async def until(what, holds):
    """Waits until `holds` gives something true; whatever it gives is told if it never does."""
    start = time.monotonic()
    while not (seen := holds()):
        if time.monotonic() - start > WITHIN_S:
            raise AssertionError(f"after {WITHIN_S} s: {what}: {seen}")
        await asyncio.sleep(0.05)
    return seen


async def home_assistant(config):
    """Home Assistant with what it brings up before any integration, and MQTT."""
    hass = core.HomeAssistant(str(config))
    hass.config.skip_pip = True
    # Its own web server is of no use here.
    hass.config.components.add("http")
    hass.config.components.add("file_upload")
    loader.async_setup(hass)
    hass.config_entries = config_entries.ConfigEntries(hass, {})
    await bootstrap.async_load_base_functionality(hass)
    for integration in ("homeassistant", "mqtt"):
        assert await async_setup_component(hass, integration, {}), integration
    await hass.async_start()
    return hass


def states(hass):
    return {state.entity_id: state for state in hass.states.async_all() if state.domain != "zone"}


def is_number(state, least=0.0, most=float("inf")):
    try:
        return least <= float(state.state) <= most
    except ValueError:
        return False


def slug(word):
    return {"café": "cafe", "犬": "quan", "Blue!": "blue"}.get(word, word.lower().replace(" ", "_"))


def expected(words, rule, things=()):
    """Entities by what holds of their states."""

    def percent(state):
        return is_number(state, 0, 100) and state.attributes["unit_of_measurement"] == "%" and state.attributes["state_class"] == "measurement"

    def total(state):
        return state.state.isdigit() and state.attributes["state_class"] == "total_increasing"

    def count(state):
        return state.state.isdigit() and state.attributes["state_class"] == "measurement"

    def unit(of):
        return lambda state: is_number(state, 0.01) and state.attributes["unit_of_measurement"] == of

    all = {"sensor.cam_frame_rate": unit("fps"), "sensor.cam_latency": unit("ms"), "event.cam_rules": lambda state: state.state != "unavailable"}
    all["text.cam_words"] = lambda state: state.state == ", ".join(words)
    all[f"binary_sensor.cam_{slug(rule)}"] = lambda state: state.state == ("on" if "sky" in words else "off")
    for word in map(slug, words):
        all[f"sensor.cam_{word}_share"] = all[f"sensor.cam_{word}_score"] = percent
        all[f"binary_sensor.cam_{word}_present"] = lambda state: state.state in ("on", "off")
    for thing in things:
        all[f"sensor.cam_{thing}"] = total if "_sky_" in thing else count
    return all


def unlike(hass, wanted):
    there = states(hass)
    wrong = [f"{key} is missing" for key in wanted if key not in there]
    return wrong + [f"{key} is {state.state!r}, {dict(state.attributes)}" for key, state in there.items() if key not in wanted or not wanted[key](state)]


async def like(hass, what, wanted):
    """Waits until the entities are these and no others, and looks at what Home Assistant keeps of them."""
    start = time.monotonic()
    try:
        await until(what, lambda: not unlike(hass, wanted))
    except AssertionError:
        raise AssertionError(f"after {WITHIN_S} s: {what}: " + "; ".join(unlike(hass, wanted))) from None
    devices = device_registry.async_entries_for_config_entry(device_registry.async_get(hass), ENTRY)
    assert len(devices) == 1 and devices[0].name == "cam" and devices[0].manufacturer == "edge-seg" and devices[0].model and devices[0].sw_version, devices
    entities = entity_registry.async_entries_for_config_entry(entity_registry.async_get(hass), ENTRY)
    assert {entity.entity_id for entity in entities} == set(wanted) and {entity.device_id for entity in entities} == {devices[0].id}, entities
    names = sorted(entity.original_name for entity in entities)
    assert len(set(names)) == len(names), f"two of one name: {names}"
    assert {entity.entity_id for entity in entities if entity.entity_category} == {"sensor.cam_frame_rate", "sensor.cam_latency"}, entities
    print(f"{what}: {len(entities)} entities ({time.monotonic() - start:.1f} s)")


async def check(program, folder, port):
    camera = Camera(program, folder, port, "sky")
    hass = await home_assistant(folder / "config")
    await camera.start()

    async def call(domain, service, **data):
        await hass.services.async_call(domain, service, data, blocking=True)

    try:
        await like(hass, "a new camera", expected(WORDS, "sky", THINGS))
        assert "on" in [state.state for key, state in states(hass).items() if key.endswith("_present")]

        # Another rule: its event is heard as it starts, the former one's as it ends.
        heard = []

        @core.callback
        def hear(event):
            if event.data["entity_id"] == "event.cam_rules" and event.data["new_state"]:
                heard.append(event.data["new_state"].attributes)

        hass.bus.async_listen("state_changed", hear)
        camera.rule("Blue!")
        await until("both events", lambda: {("ended", "sky"), ("started", "Blue!")} <= {(seen["event_type"], seen.get("rule")) for seen in heard})
        started = next(seen for seen in heard if seen.get("rule") == "Blue!")
        assert started["duration_ms"] >= 0 and started["measured"][0]["word"] == "sky", started
        await like(hass, "another rule", expected(WORDS, "Blue!", THINGS))

        await call("text", "set_value", entity_id="text.cam_words", value="grass, sky")
        await like(hass, "words by the text field", expected(["grass", "sky"], "Blue!", THINGS))
        many = [f"word {i}" for i in range(70)]
        await call("mqtt", "publish", topic="edge-seg/cam/words/set", payload=", ".join(many))
        # The first 64, and no text, which holds 255 letters at most.
        wanted = expected(many[:64], "Blue!")
        del wanted["text.cam_words"]
        await like(hass, "seventy words", wanted)
        await call("mqtt", "publish", topic="edge-seg/cam/words/set", payload=", ".join(WORDS))
        wanted = expected(WORDS, "Blue!", THINGS)
        await like(hass, "the first words", wanted)

        await camera.end(signal.SIGKILL)
        await until("nothing is available without its camera", lambda: {state.state for state in states(hass).values()} == {"unavailable"})
        await camera.start()
        await like(hass, "the camera started again", wanted)

        await hass.async_stop()
        # What a broker has lost is told again to whoever starts.
        lost = ["-t", "homeassistant/sensor/cam/sky_share/config", "-r", "-n"]
        assert await (await asyncio.create_subprocess_exec("mosquitto_pub", "-p", str(port), *lost)).wait() == 0
        hass = await home_assistant(folder / "config")
        await like(hass, "Home Assistant started again", wanted)
        issues = [issue.issue_id for issue in issue_registry.async_get(hass).issues.values()]
        assert not issues, issues
    finally:
        await camera.end()
        await hass.async_stop()


def main(program):
    log = Log()
    logging.getLogger().addHandler(log)
    with tempfile.TemporaryDirectory() as folder, socket.socket() as free:
        folder = Path(folder)
        (folder / "config/.storage").mkdir(parents=True)
        (folder / "config/configuration.yaml").touch()
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        broker = {"broker": "127.0.0.1", "port": port}
        entry = {"entry_id": ENTRY, "version": 1, "domain": "mqtt", "title": "broker", "data": broker, "options": {}, "source": "user", "unique_id": None, "disabled_by": None}
        entry |= {"pref_disable_new_entities": False, "pref_disable_polling": False}
        stored = {"version": 1, "key": "core.config_entries", "data": {"entries": [entry]}}
        (folder / "config/.storage/core.config_entries").write_text(json.dumps(stored))
        (folder / "mosquitto.conf").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
        broker = subprocess.Popen(["mosquitto", "-c", folder / "mosquitto.conf"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            asyncio.run(check(str(Path(program).resolve()), folder, port))
        except AssertionError as fault:
            print(fault, (folder / "camera.log").read_text(), sep="\n", file=sys.stderr)
            log.said.append("and what is said above")
        finally:
            broker.kill()
            broker.wait()
    print("\n".join(log.said), file=sys.stderr)
    return 1 if log.said else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    sys.exit(main(sys.argv[1]))
