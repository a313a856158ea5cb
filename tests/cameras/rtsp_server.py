"""An RTSP server with one camera on /test, until it is killed.

Prints "ready PORT" once it listens. Arguments: the port, or 0 for any; what it sends: a plain colour as JPEG (0xRRGGBB), or a film (.mp4)
as it is encoded; or a file (.h264) into which it writes what is sent to it; then
  udp              by UDP alone
  login=NAME:WORD  to who knows this, by Digest
  drop=SHARE       of its packets get lost
  stall=N          sends nothing after N pictures, and stays there
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer

Gst.init(None)
port, what = sys.argv[1:3]
options = dict((*word.split("=", 1), "")[:2] for word in sys.argv[3:])
if what.endswith(".mp4"):
    codec = "h265" if "h265" in what else "h264"
    chain = f'filesrc location="{what}" ! qtdemux ! identity name=pictures ! rtp{codec}pay config-interval=-1 name=pay0 pt=96'
elif what.endswith(".h264"):
    chain = f'rtph264depay name=depay0 ! video/x-h264,stream-format=byte-stream,alignment=au ! filesink buffer-mode=unbuffered location="{what}"'
else:
    colour = int(what, 16) | 0xFF000000
    chain = (
        f"videotestsrc is-live=true pattern=solid-color foreground-color={colour}"
        " ! video/x-raw,format=RGB,width=320,height=240,framerate=15/1 ! videoconvert"
        # JPEG has full range, and GStreamer's encoder converts nothing by itself.
        " ! video/x-raw,format=I420,colorimetry=(string)1:4:0:0 ! jpegenc quality=95 ! identity name=pictures"
        " ! rtpjpegpay name=pay0 pt=26"
    )
server = GstRtspServer.RTSPServer()
server.set_service(port)
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(f"( {chain} )")
factory.set_shared(True)
if what.endswith(".h264"):
    factory.set_transport_mode(GstRtspServer.RTSPTransportMode.RECORD)
if "udp" in options:
    factory.set_protocols(GstRtsp.RTSPLowerTrans.UDP)


def lose(pad, info, share):
    """Lets a share of the packets go by, every so many, so that a run can be told from another by nothing."""
    lose.count += 1
    return Gst.PadProbeReturn.DROP if lose.count % round(1 / share) == 0 else Gst.PadProbeReturn.OK


def stand_still(pad, info, most):
    stand_still.count += 1
    return Gst.PadProbeReturn.DROP if stand_still.count > most else Gst.PadProbeReturn.OK


lose.count = stand_still.count = 0


def made(_, media):
    stand_still.count = 0
    element = media.get_element()
    kind = Gst.PadProbeType.BUFFER | Gst.PadProbeType.BUFFER_LIST
    if "drop" in options:
        element.get_by_name("pay0").get_static_pad("src").add_probe(kind, lose, float(options["drop"]))
    if "stall" in options:
        element.get_by_name("pictures").get_static_pad("src").add_probe(kind, stand_still, int(options["stall"]))


factory.connect("media-configure", made)
server.get_mount_points().add_factory("/test", factory)
if "login" in options:
    name, word = options["login"].split(":", 1)
    auth = GstRtspServer.RTSPAuth()
    auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "watcher")
    auth.add_digest(name, word, token)
    server.set_auth(auth)
    permissions = GstRtspServer.RTSPPermissions()
    permissions.add_permission_for_role("watcher", "media.factory.access", True)
    permissions.add_permission_for_role("watcher", "media.factory.construct", True)
    factory.set_permissions(permissions)
if not server.attach(None):
    sys.exit(f"nothing can listen on port {port}")
print("ready", server.get_bound_port(), flush=True)
GLib.MainLoop().run()
