"""The web page in headless Chromium, as a person uses it: `web_page.py EDGE_SEG [FOLDER FOR SCREENSHOTS]`.

Needs Debian's chromium and python3-websocket. Ends with 0 if all holds, and says what does not otherwise.
"""

import base64
import itertools
import json
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

import websocket

PATIENCE_S = 120
# A modifier of keys, as the protocol counts them.
SHIFT = 8
PICTURE = pathlib.Path(__file__).resolve().parent.parent / "examples/pictures/cat.jpg"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Camera:
    """A running `edge-seg` with its page."""

    def __init__(self, binary, folder, port, *more, key_interval=1000):
        arguments = ["run", "--source", PICTURE, "--loop", "--key-interval", key_interval, "--tags", "cat, car", "--size", "224"]
        arguments += ["--http", f"127.0.0.1:{port}", "--state", folder / "state", "--recordings", folder / "recordings", *more]
        self.process = subprocess.Popen([binary, *map(str, arguments)], stdout=subprocess.DEVNULL)
        self.url = f"http://127.0.0.1:{port}"

    def words(self):
        with urllib.request.urlopen(self.url + "/api/words") as answer:
            return [word["name"] for word in json.load(answer)["words"]]

    def stop(self):
        self.process.terminate()
        assert self.process.wait(PATIENCE_S) == 0


class Browser:
    """A page of headless Chromium, driven over its DevTools protocol."""

    def __init__(self, folder):
        program = shutil.which("chromium") or shutil.which("chromium-browser") or sys.exit("web_page.py: install the package chromium")
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-port=0", "--no-first-run",
                 f"--user-data-dir={folder / 'profile'}"]
        self.process = subprocess.Popen([program, *flags, "about:blank"], stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            if found := re.search(r"ws://([^/]+)/", line):
                break
        with urllib.request.urlopen(f"http://{found[1]}/json") as answer:
            page = next(target for target in json.load(answer) if target["type"] == "page")
        self.socket = websocket.create_connection(page["webSocketDebuggerUrl"], timeout=PATIENCE_S, suppress_origin=True)
        self.numbers = itertools.count(1)
        self.complaints = []
        for domain in ["Page", "Runtime", "Log", "Accessibility"]:
            self.call(f"{domain}.enable")

    def call(self, method, **parameters):
        number = next(self.numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self.socket.recv())
            if message.get("method") == "Runtime.exceptionThrown":
                self.complaints.append(message["params"]["exceptionDetails"].get("exception", {}).get("description", "exception"))
            elif message.get("method") == "Log.entryAdded" and message["params"]["entry"]["level"] == "error":
                self.complaints.append(message["params"]["entry"]["text"] + " " + message["params"]["entry"].get("url", ""))
            elif message.get("method") == "Runtime.consoleAPICalled" and message["params"]["type"] in ("error", "warning"):
                self.complaints.append(json.dumps(message["params"]["args"]))
            elif message.get("id") == number:
                assert "error" not in message, (method, message["error"])
                return message["result"]

    def run(self, script):
        result = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, (script, result["exceptionDetails"])
        return result["result"].get("value")

    def until(self, script, what):
        limit = time.monotonic() + PATIENCE_S
        # The page may not be there yet.
        tried = f"(() => {{ try {{ return {script} }} catch {{ return false }} }})()"
        while not (value := self.run(tried)):
            assert time.monotonic() < limit, f"{what} never came; the page says: {self.run('document.body.innerText')}"
            time.sleep(0.1)
        return value

    def click(self, selector):
        place = f"""(() => {{
            const e = document.querySelector({json.dumps(selector)});
            e.scrollIntoView({{block: "center"}});
            const b = e.getBoundingClientRect();
            return [b.x + b.width / 2, b.y + b.height / 2];
        }})()"""
        # A page that is still being laid out would move it away from under the mouse.
        before, (x, y) = None, self.run(place)
        while before != (x, y):
            time.sleep(0.1)
            before, (x, y) = (x, y), self.run(place)
        for kind in ["mousePressed", "mouseReleased"]:
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def key(self, key, code=0, modifiers=0):
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ["keyDown", "keyUp"]:
            more = text if kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, modifiers=modifiers, **more)

    def type(self, selector, text):
        self.run(f"document.querySelector({json.dumps(selector)}).focus()")
        self.call("Input.insertText", text=text)

    def look(self, width, height, scheme, phone=False):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def picture(self, path):
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"]))

    def stop(self):
        self.socket.close()
        self.process.terminate()
        self.process.wait(PATIENCE_S)


# Pixels of the masks that are some word's.
MASKED = """(() => {
    const c = document.querySelector("#masks");
    const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
    let n = 0;
    for (let i = 3; i < d.length; i += 4) n += d[i] > 0;
    return n / (c.width * c.height);
})()"""
# What is told at once, what nobody confirms, and a profile that is on whatever the light.
RULES = """
[[profile]]
name = "any light"
darker_than = 1.0

[[rule]]
name = "a cat is there"
when = { word = "cat", score_above = 0.01 }

[[rule]]
name = "a car, perhaps"
when = { word = "cat", score_above = 0.01 }
confirm_s = 0.5
confirm = { word = "car", score_above = 0.99 }
"""
LIVE = 'document.querySelector("#link").dataset.state === "live"'
NAMED = {"button", "textbox", "slider", "combobox", "ColorWell", "meter", "link", "heading", "listbox", "spinbutton", "application", "image", "switch"}


def chips(browser):
    return browser.run('[...document.querySelectorAll("#chips .name")].map((e) => e.textContent)')


def chip(name):
    return f'[...document.querySelectorAll("#chips .chip")].find((c) => c.querySelector(".name").textContent === {json.dumps(name)})'


def press(browser, name, part):
    browser.run(f'{chip(name)}.querySelector({json.dumps(part)}).id = "pressed"')
    browser.click("#pressed")
    browser.run('document.querySelector("#pressed")?.removeAttribute("id")')


def words_come_and_go(browser, camera):
    assert chips(browser) == ["cat", "car"]
    assert browser.until(f"{MASKED} > 0.2", "masks")
    browser.type("#add-name", "wall")
    browser.key("Enter", 13)
    browser.until('document.querySelectorAll("#chips .chip").length === 3', "a third word")
    assert camera.words() == ["cat", "car", "wall"]
    assert browser.run("document.activeElement.id") == "add-name", "the next word can be typed at once"
    press(browser, "wall", ".remove")
    browser.until('document.querySelectorAll("#chips .chip").length === 2', "a word less")
    assert camera.words() == ["cat", "car"]

    press(browser, "cat", ".toggle")
    browser.until(f"{MASKED} < 0.2", "masks without the cat")
    press(browser, "cat", ".toggle")
    browser.until(f"{MASKED} > 0.2", "masks with the cat")

    press(browser, "cat", ".name")
    browser.until("document.activeElement.name === 'name'", "the word's form")
    browser.run(f'{chip("cat")}.querySelector("[name=threshold]").value = "1"')
    browser.key("Enter", 13)
    browser.until(f"{MASKED} < 0.2", "masks above a threshold that nothing passes")
    press(browser, "cat", ".name")
    browser.run(f'{chip("cat")}.querySelector("[name=threshold]").value = ""')
    press(browser, "cat", ".edit .main")
    browser.until(f"{MASKED} > 0.2", "masks above the usual threshold")

    browser.type("#add-name", "cat")
    browser.key("Enter", 13)
    browser.until('document.querySelector("#said").hasAttribute("data-bad")', "that the word is there already")
    assert "twice" in browser.run('document.querySelector("#said").textContent')
    browser.run('document.querySelector("#add-name").value = ""')


def sets_are_saved(browser, camera):
    browser.type("#set-name", "page-test")
    browser.key("Enter", 13)
    browser.until('document.querySelector("#set").value === "page-test"', "the saved set")
    press(browser, "car", ".remove")
    browser.until('document.querySelectorAll("#chips .chip").length === 1', "a word less")
    browser.click("#set-load")
    browser.until('document.querySelectorAll("#chips .chip").length === 2', "the set's words")
    assert camera.words() == ["cat", "car"]


def points_tell_scores(browser):
    browser.click("#stage")
    browser.until('document.querySelectorAll("#point li").length === 2', "scores at the point")
    assert browser.run('document.querySelector("#point li span").textContent') == "cat"
    first = browser.run('document.querySelector("#point p").textContent')
    browser.run('document.querySelector("#stage").focus()')
    for _ in range(5):
        browser.key("ArrowUp", 38)
    browser.key("Enter", 13)
    browser.until(f'document.querySelector("#point p").textContent !== {json.dumps(first)}', "scores at another point by keyboard")


def events_are_on_the_timeline(browser, folder):
    texts = [browser.until(f'document.querySelector("#timeline .entry[data-state={state}]")?.textContent', state) for state in ["started", "cleared"]]
    assert "a cat is there" in texts[0] and "on now" in texts[0] and "cat: " in texts[0], texts
    assert "a car, perhaps" in texts[1] and "not confirmed" in texts[1], texts
    browser.until('document.querySelector("#timeline [data-state=started] img").naturalWidth > 50', "an event's picture")
    # It can be reached and scrolled by keyboard, and what is new is said, not what was there.
    browser.run('document.querySelector("#timeline").focus()')
    assert browser.run("document.activeElement.id") == "timeline"
    assert browser.run('document.querySelector("#timeline-said").getAttribute("role")') == "status"
    assert browser.run('document.querySelector("#now").textContent') == "Profile: any light."
    # Events end when their rules go; newer ones stand above.
    (folder / "rules.toml").write_text(RULES.replace("a cat is there", "there is a cat"))
    browser.until('document.querySelector("#timeline .entry[data-state=ended] .rule")?.textContent === "a cat is there"', "the end of an event")
    browser.until('document.querySelector("#timeline-said").textContent !== ""', "that it is said")
    ids = browser.run('[...document.querySelectorAll("#timeline .entry")].map((e) => Number(e.dataset.id))')
    assert ids == sorted(ids, reverse=True), ids
    # Counts are the largest numbers of the page.
    browser.until('document.querySelector("#counts dd")?.firstChild.textContent === "1"', "the count of cats")
    assert browser.run('parseFloat(getComputedStyle(document.querySelector("#counts dd")).fontSize)') >= 40


def drag(browser, start, end, finger=False, steps=2):
    """Over the picture, from and to shares of its width and height, in so many moves."""
    box = browser.run('(() => { const b = document.querySelector("#picture").getBoundingClientRect(); return [b.x, b.y, b.width, b.height]; })()')
    shares = [[start[axis] + (end[axis] - start[axis]) * step / steps for axis in (0, 1)] for step in range(steps + 1)]
    places = [[box[0] + x * box[2], box[1] + y * box[3]] for x, y in shares]
    if finger:
        for kind, place in [("touchStart", places[0]), *(("touchMove", place) for place in places[1:]), ("touchEnd", None)]:
            browser.call("Input.dispatchTouchEvent", type=kind, touchPoints=[{"x": place[0], "y": place[1]}] if place else [])
        return
    for kind, (x, y) in [("mousePressed", places[0]), *(("mouseMoved", place) for place in places[1:]), ("mouseReleased", places[-1])]:
        browser.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)


def boxes_reach_the_edges(browser):
    """Drags that begin at a corner, or end outside: what lies in the picture of them is the box."""
    browser.run('document.querySelector("#stage").scrollIntoView({block: "center"})')
    browser.call("Emulation.setTouchEmulationEnabled", enabled=True)
    for finger in (False, True):
        if finger:
            browser.click("#point-out")
            browser.run('document.querySelector("#stage").scrollIntoView({block: "center"})')
        for start, end, steps, box in [
            ((0, 0), (0.5, 0.5), 2, (0, 0, 50, 50)), ((1, 0), (0.5, 0.5), 2, (50, 0, 50, 50)),
            ((1, 1), (0.5, 0.5), 2, (50, 50, 50, 50)), ((0, 1), (0.5, 0.5), 2, (0, 50, 50, 50)),
            # The first move is outside already.
            ((0.5, 0.5), (1.02, 1.05), 1, (50, 50, 50, 50)), ((0.5, 0.5), (-0.01, -0.05), 3, (0, 0, 50, 50)),
        ]:
            drag(browser, start, end, finger, steps)
            told = f"the question for a name after {start} to {end} {'with a finger' if finger else ''}"
            browser.until('!document.querySelector("#show").hidden', told)
            found = browser.run('["left", "top", "width", "height"].map((key) => parseFloat(document.querySelector("#box").style[key]))')
            assert all(abs(a - b) < 1 for a, b in zip(found, box)), (start, end, found)
            browser.key("Escape", 27)
            browser.until('document.querySelector("#show").hidden && document.querySelector("#box").hidden', "no box")
    browser.click("#point-out")
    browser.call("Emulation.setTouchEmulationEnabled", enabled=False)


def boxes_become_words(browser, camera):
    browser.run('document.querySelector("#stage").scrollIntoView()')
    told = browser.run('document.querySelector("#point").textContent')
    drag(browser, [0.25, 0.25], [0.75, 0.75])
    browser.until('!document.querySelector("#show").hidden && document.activeElement.id === "show-name"', "the question for a name")
    assert browser.run('document.querySelector("#point").textContent') == told, "a drag asks for no scores"
    browser.type("#show-name", "my friend")
    browser.key("Enter", 13)
    browser.until('document.querySelector("#show").hidden && document.querySelectorAll("#chips .chip").length === 3', "the word of the box")
    assert camera.words() == ["cat", "car", "my friend"]
    assert browser.run(f'{chip("my friend")}.querySelector(".examples").textContent') == "1 example"
    # With the keyboard, as what is not meant: the corner. What is on the thing itself would turn the word away from it.
    browser.run('document.querySelector("#stage").focus()')
    for _ in range(10):
        browser.key("ArrowLeft", 37, SHIFT)
        browser.key("ArrowUp", 38, SHIFT)
    browser.key("b", 66)
    for _ in range(5):
        browser.key("ArrowRight", 39)
        browser.key("ArrowDown", 40)
    browser.key("b", 66)
    browser.until('!document.querySelector("#show").hidden', "the question for a name again")
    browser.type("#show-name", "my friend")
    browser.run('document.querySelector("#show-counter").checked = true')
    browser.key("Enter", 13)
    browser.until(f'{chip("my friend")}.querySelector(".examples").textContent === "2 examples"', "a second example")
    # A box that is thought better of leaves nothing, and the picture goes on.
    drag(browser, [0.1, 0.1], [0.3, 0.3])
    browser.until('!document.querySelector("#show").hidden', "the question for a name once more")
    browser.key("Escape", 27)
    browser.until('document.querySelector("#show").hidden && document.querySelector("#box").hidden', "no box")


def the_past_is_searched(browser):
    browser.type("#search-words", "cat")
    browser.key("Enter", 13)
    browser.until('document.querySelectorAll("#search-found li").length > 0', "an answer")
    assert "hall" in browser.run('document.querySelector("#search-found li").textContent')
    browser.until('document.querySelector("#search-found img").naturalWidth > 50', "its picture")
    browser.run('document.querySelector("#search-words").value = ""')
    browser.type("#search-words", "aeroplane")
    browser.key("Enter", 13)
    browser.until('document.querySelector("#search-said").textContent === "aeroplane: not seen."', "that there is none")
    browser.run('document.querySelector("#search-words").value = ""')
    browser.type("#search-words", "my friend")
    browser.key("Enter", 13)
    browser.until('/my friend/.test(document.querySelector("#search-found").textContent)', "what was shown")


def controls_have_names(browser):
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    shown = [n for n in nodes if not n.get("ignored") and n.get("role", {}).get("value") in NAMED]
    assert len(shown) > 15, len(shown)
    nameless = [n for n in shown if not n.get("name", {}).get("value")]
    assert not nameless, nameless
    # Whatever can be clicked can be reached by Tab, in an order without jumps back.
    assert browser.run('[...document.querySelectorAll("[tabindex]")].every((e) => e.tabIndex <= 0)')


def recordings_run_and_are_downloaded(browser, folder, downloads):
    browser.run('document.querySelector("#format").value = "y4m"')
    browser.click("#record")
    browser.until('/[1-9]\\d* frames/.test(document.querySelector("#record-state").textContent)', "recorded frames")
    browser.click("#record")
    browser.until('/is finished/.test(document.querySelector("#record-state").textContent)', "a finished recording")
    browser.until('document.querySelectorAll("#recordings li").length > 0', "the list of recordings")
    assert "1 recording" in browser.run('document.querySelector("#recordings summary").textContent')
    download(browser, folder, downloads)


def download(browser, folder, downloads):
    """Clicks the newest recording and compares what the browser saves with what the camera wrote."""
    downloads.mkdir(exist_ok=True)
    browser.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(downloads))
    browser.run('document.querySelector("#recordings").open = true')
    name = browser.run('document.querySelector("#recordings a").download')
    browser.click("#recordings a")
    wanted, found = (folder / "recordings" / name).read_bytes(), downloads / name
    limit = time.monotonic() + PATIENCE_S
    while not (found.exists() and found.read_bytes() == wanted):
        assert time.monotonic() < limit, f"{name} was not downloaded whole: {list(downloads.iterdir())}"
        time.sleep(0.1)


def looks(browser, pictures):
    for name, width, height, scheme, phone in [
        ("light", 1280, 800, "light", False), ("dark", 1280, 800, "dark", False),
        ("phone-light", 390, 844, "light", True), ("phone-dark", 390, 844, "dark", True), ("narrow", 320, 640, "light", True),
    ]:
        browser.look(width, height, scheme, phone)
        browser.run("scrollTo(0, 0)")
        time.sleep(0.5)
        wide = browser.run("document.documentElement.scrollWidth")
        assert wide <= width, f"{name}: {wide} pixels wide"
        ground = browser.run("getComputedStyle(document.body).backgroundColor")
        bright = sum(map(int, re.findall(r"\d+", ground)[:3])) > 380
        assert bright == (scheme == "light"), (name, ground)
        if pictures:
            browser.picture(pictures / f"{name}.png")
    browser.look(1280, 800, "light")


def switches(browser):
    return browser.run("""[...document.querySelectorAll("#hides li")].map((row) => [row.querySelector(".name").textContent,
        row.querySelector("[role=switch]").getAttribute("aria-checked"), row.querySelector("[role=switch]").getAttribute("aria-disabled")])""")


def hide_switch(name):
    return f'[...document.querySelectorAll("#hides [role=switch]")].find((e) => e.getAttribute("aria-label") === "Hide {name}")'


def words_are_hidden(browser, binary, folder, pictures):
    port = free_port()
    camera = Camera(binary, folder, port, "--hide", "wall", "--hide-switches", key_interval=3)
    open_page(browser, camera)
    browser.until(LIVE, "pictures")
    browser.until('document.querySelectorAll("#hides li").length === 3', "the switches")
    assert switches(browser) == [["wall", "true", "true"], ["cat", "false", "false"], ["car", "false", "false"]], switches(browser)
    share = browser.until('/(\\d+) % of the picture is hidden/.exec(document.querySelector("#now").textContent)?.[1]', "how much is hidden")
    # What the configuration hides stays hidden, and the page says why.
    browser.run(f'{hide_switch("wall")}.id = "pressed"')
    browser.click("#pressed")
    browser.until('/since the start/.test(document.querySelector("#hide-said").textContent)', "why the wall stays hidden")
    browser.run('document.querySelector("#pressed").removeAttribute("id")')
    # With the keyboard alone, and the focus stays where it is.
    browser.run(f'{hide_switch("cat")}.focus()')
    browser.key("Enter", 13)
    browser.until(f'{hide_switch("cat")}.getAttribute("aria-checked") === "true"', "the cat hidden")
    assert browser.run("document.activeElement.getAttribute('aria-label')") == "Hide cat"
    assert browser.run('document.querySelector("#hide-said").textContent') == "cat is hidden."
    more = f'Number(/(\\d+) % of the picture is hidden/.exec(document.querySelector("#now").textContent)?.[1]) > {share} + 15'
    browser.until(more, "more that is hidden")
    controls_have_names(browser)
    if pictures:
        (pictures / "hidden").mkdir(exist_ok=True)
        looks(browser, pictures / "hidden")
    browser.type("#hide-name", "screen")
    browser.key("Enter", 13)
    browser.until('document.querySelectorAll("#hides li").length === 4', "another word that is hidden")
    # Another page is told.
    names = json.load(urllib.request.urlopen(camera.url + "/api/hide"))["words"]
    assert names == [{"name": "wall", "locked": True}, {"name": "cat", "locked": False}, {"name": "screen", "locked": False}], names
    request = urllib.request.Request(camera.url + "/api/hide/screen", method="DELETE")
    urllib.request.urlopen(request).read()
    browser.until('document.querySelectorAll("#hides li").length === 3', "that somebody else shows it again")
    # A word that nothing knows is no promise.
    browser.type("#hide-name", "qwertz zuiop")
    browser.key("Enter", 13)
    browser.until('/unknown.*Look whether/.test(document.querySelector("#hide-said[data-bad]")?.textContent)', "a warning of an unknown word")
    request = urllib.request.Request(camera.url + "/api/hide/qwertz%20zuiop", method="DELETE")
    urllib.request.urlopen(request).read()
    browser.until('document.querySelectorAll("#hides li").length === 3', "that somebody else shows it again")
    browser.run(f'{hide_switch("cat")}.click()')
    browser.until(f'{hide_switch("cat")}.getAttribute("aria-checked") === "false"', "the cat shown again")
    browser.until(f"!({more})", "less that is hidden")
    camera.stop()


def many_words_find_room(browser, binary, folder, pictures):
    port = free_port()
    camera = Camera(binary, folder, port, "--things", "all", "--hide-switches")
    browser.look(360, 740, "light", True)
    open_page(browser, camera)
    browser.until(LIVE, "pictures")
    things = ["traffic signal", "refrigerated lorry", "pedestrian crossing", "fire extinguisher", "Donaudampfschifffahrtsgesellschaft"]
    words = [f"{thing} number {number} with a long name" for number in range(8) for thing in things]
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(camera.url + "/api/words", json.dumps(words).encode(), headers, method="PUT")
    urllib.request.urlopen(request).read()
    for list_of in ["#chips .chip", "#counts div", "#hides li"]:
        browser.until(f'document.querySelectorAll("{list_of}").length === 40', f"{list_of} of 40 words")
    wide, tall = browser.run("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]")
    assert wide <= 360 and tall < 5 * 740, f"{wide} by {tall} pixels: what lies below 40 words is out of reach"
    # The last of them is within reach of a finger.
    press(browser, words[-1], ".toggle")
    browser.until(f'{chip(words[-1])}.classList.contains("off")', "the last word off")
    if pictures:
        browser.run("scrollTo(0, 0)")
        browser.picture(pictures / "forty-words.png")
    browser.look(1280, 800, "light")
    camera.stop()


def tokens_are_asked_for(browser, binary, folder):
    (folder / "token").write_text("token-of-the-page-test\n")
    port = free_port()
    camera = Camera(binary, folder, port, "--http-token-file", folder / "token")
    open_page(browser, camera)
    browser.until('document.querySelector("#ask").open', "the question for the token")
    browser.type("#token", "not-the-right-token")
    browser.key("Enter", 13)
    browser.until('/refused/.test(document.querySelector("#ask-why").textContent)', "that the token is wrong")
    browser.type("#token", "token-of-the-page-test")
    browser.key("Enter", 13)
    browser.until(LIVE, "pictures")
    browser.until('document.querySelectorAll("#chips .chip").length === 2', "words")
    browser.until('document.querySelectorAll("#recordings li").length > 0', "the list of recordings")
    download(browser, folder, folder / "downloads-with-token")
    camera.stop()


def open_page(browser, camera):
    limit = time.monotonic() + PATIENCE_S
    while True:
        try:
            urllib.request.urlopen(camera.url + "/openapi.json").read()
            break
        except OSError:
            assert camera.process.poll() is None and time.monotonic() < limit, "the server never came"
            time.sleep(0.2)
    browser.call("Page.navigate", url=camera.url)


def main():
    binary = pathlib.Path(sys.argv[1]).resolve()
    pictures = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else None
    if pictures:
        pictures.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        folder = pathlib.Path(folder)
        port = free_port()
        (folder / "rules.toml").write_text(RULES)
        more = ["--index", folder / "seen.index", "--index-camera", "hall", "--things", "cat", "--rules", folder / "rules.toml"]
        camera, browser = Camera(binary, folder, port, *more), Browser(folder)
        try:
            browser.look(1280, 800, "light")
            open_page(browser, camera)
            browser.until(LIVE, "pictures")
            browser.until('document.querySelectorAll("#chips .chip").length === 2', "words")
            words_come_and_go(browser, camera)
            sets_are_saved(browser, camera)
            points_tell_scores(browser)
            events_are_on_the_timeline(browser, folder)
            boxes_become_words(browser, camera)
            boxes_reach_the_edges(browser)
            the_past_is_searched(browser)
            controls_have_names(browser)
            recordings_run_and_are_downloaded(browser, folder, folder / "downloads")
            looks(browser, pictures)
            # Refusals that the steps above provoke are in Chromium's log; nothing else may be.
            assert all("422" in c for c in browser.complaints), browser.complaints

            camera.stop()
            browser.until('document.querySelector("#link").dataset.state === "lost"', "that the connection is lost")
            camera = Camera(binary, folder, port)
            browser.until(LIVE, "pictures after a restart")
            browser.until('document.querySelectorAll("#chips .chip").length === 2', "words after a restart")
            lost = [c for c in browser.complaints if "422" not in c and "net::ERR_" not in c]
            assert not lost, lost
            camera.stop()

            browser.complaints.clear()
            words_are_hidden(browser, binary, folder, pictures)
            lost = [c for c in browser.complaints if "net::ERR_" not in c]
            assert not lost, lost

            browser.complaints.clear()
            many_words_find_room(browser, binary, folder, pictures)
            lost = [c for c in browser.complaints if "net::ERR_" not in c]
            assert not lost, lost

            browser.complaints.clear()
            tokens_are_asked_for(browser, binary, folder)
            assert all("401" in c or "net::ERR_" in c for c in browser.complaints), browser.complaints
        finally:
            camera.process.kill()
            browser.stop()
    print("web page: 14 passed, 0 failed")


main()
