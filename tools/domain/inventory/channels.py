"""Serial ports, channels and the like, graphics and sound: where the host's end of each is."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator

from tools.domain.inventory.machine import needed
from tools.domain.inventory.registry import accounts_for
from tools.domain.inventory.resource import COPIED, PRESENT, Fate, Resource, ResourceKind, refuses
from tools.domain.inventory.walk import Place, unknown

_NOTHING_OF_THE_HOST = ("null", "vc", "pty", "stdio", "spicevmc", "spiceport", "qemu-vdagent", "dbus")
_ANY_ADDRESS = ("", "127.0.0.1", "localhost", "::1", "0.0.0.0", "::")  # noqa: S104 — read, not listened on
_LIBVIRT_SOCKETS = ("/var/lib/libvirt/", "/run/libvirt/", "/var/run/libvirt/")
_RANDOM = ("/dev/urandom", "/dev/random")
_HOST_SOUND = ("alsa", "coreaudio", "jack", "oss", "pulseaudio", "sdl", "pipewire", "dbus")


@accounts_for(
    "devices/serial", "devices/parallel", "devices/console", "devices/channel", "devices/redirdev", "devices/smartcard"
)
def character_device(place: Place) -> Iterator[Resource]:
    element = place.element
    if element.tag == "smartcard" and element.get("mode", "passthrough") != "passthrough":
        yield from _smartcard(place)
        return
    if element.tag == "console" and _mirrors_a_serial_port(element, place):
        return
    yield from _host_end(place, element, element.get("type", ""), element.tag)


def _mirrors_a_serial_port(element: ET.Element, place: Place) -> bool:
    """libvirt shows the first serial port again as a console."""
    target = element.find("target")
    devices = place.root.find("devices")
    return (
        target is not None
        and target.get("type", "serial") == "serial"
        and devices is not None
        and devices.find("serial") is not None
    )


def _host_end(place: Place, element: ET.Element, kind: str, what: str) -> Iterator[Resource]:
    source = element.find("source")
    get = source.get if source is not None else dict[str, str]().get
    path = get("path", "")
    if kind in _NOTHING_OF_THE_HOST:
        return
    if kind == "dev":
        yield host_device(what, path, f"it is a {what} port of this host, with what is plugged into it")
    elif kind == "file":
        yield log_file(what, path)
    elif kind == "pipe":
        yield needed(ResourceKind.SOCKET, what, path, tells=f"whether the target has {path}")
    elif kind == "unix":
        if get("mode", "bind") == "connect":
            yield needed(ResourceKind.SOCKET, what, path, tells=f"whether something listens at {path} at the target")
        elif path and not path.startswith(_LIBVIRT_SOCKETS):
            directory = path.rpartition("/")[0]
            yield needed(ResourceKind.SOCKET, what, path, tells=f"whether the target has the directory {directory}")
    elif kind in ("tcp", "udp"):
        for end in element.findall("source"):
            where = f"{end.get('host', '')}:{end.get('service', '')}"
            if end.get("mode", "connect") == "bind":
                tells = f"whether {where} is free at the target"
            else:
                tells = f"whether the target reaches {where}"
            yield needed(ResourceKind.ADDRESS, what, where, tells=tells)
    else:
        yield unknown(place, f"a host's end of type {kind!r}")


def host_device(what: str, where: str, why: str) -> Resource:
    """Hardware of this host."""
    return Resource(
        what=what,
        kind=ResourceKind.HOST_DEVICE,
        where=where,
        live_migrate=refuses(why),
        cold_migrate=refuses(why),
        cold_archive=refuses(why),
    )


def log_file(what: str, path: str) -> Resource:
    """Something that QEMU only writes to. What it wrote so far stays at the source."""
    fate = Fate(PRESENT.outcome, "QEMU makes it anew; what was written so far stays at the source")
    return Resource(
        what=f"log of {what}",
        kind=ResourceKind.LOG,
        where=path,
        live_migrate=fate,
        cold_migrate=fate,
        cold_archive=fate,
        host_tells=f"whether the target has the directory {path.rpartition('/')[0]}",
    )


@accounts_for("char/log")
def character_log(place: Place) -> Iterator[Resource]:
    yield log_file(place.parent.tag, place.element.get("file", ""))


def _smartcard(place: Place) -> Iterator[Resource]:
    mode = place.element.get("mode", "")
    if mode == "host":
        yield host_device("smartcard", "reader of this host", "it is a card in this host's reader")
    elif mode == "host-certificates":
        where = (place.element.findtext("database") or "").strip() or "/etc/pki/nssdb"
        live = refuses("QEMU moves no emulated smartcard live")
        tells = f"whether the target has the certificates in {where}"
        yield needed(ResourceKind.HOST_FILE, "smartcard certificates", where, tells=tells, live=live)
    else:
        yield unknown(place, f"a smartcard of mode {mode!r}")


@accounts_for("devices/rng")
def random_numbers(place: Place) -> Iterator[Resource]:
    backend = place.element.find("backend")
    model = backend.get("model", "") if backend is not None else ""
    if backend is None or model not in ("random", "egd", "builtin"):
        yield unknown(place, f"a source of random numbers of model {model!r}")
    elif model == "egd":
        yield from _host_end(place, backend, backend.get("type", ""), "random numbers")
    elif model == "random":
        where = (backend.text or "").strip() or "/dev/random"
        if where not in _RANDOM:
            yield needed(ResourceKind.HOST_FILE, "random numbers", where, tells=f"whether the target has {where}")


@accounts_for("devices/graphics")
def graphics(place: Place) -> Iterator[Resource]:
    element = place.element
    kind = element.get("type", "")
    if kind not in ("vnc", "spice", "rdp", "sdl", "desktop", "egl-headless", "dbus"):
        yield unknown(place, f"graphics of type {kind!r}")
        return
    if element.get("autoport") != "yes":
        for name in ("port", "tlsPort", "websocket"):
            port = element.get(name, "-1")
            if port != "-1":
                tells = f"whether port {port} is free at the target"
                yield needed(ResourceKind.ADDRESS, f"{kind} port", port, tells=tells)
    listen = element.get("listen", "")
    if listen not in _ANY_ADDRESS and element.find("listen") is None:
        yield _address(kind, listen)
    if element.get("socket"):
        yield _graphics_socket(kind, element.get("socket", ""))
    if kind in ("sdl", "desktop"):
        where = element.get("display", ":0")
        yield needed(ResourceKind.GRAPHICS, "display", where, tells=f"whether the target has a display {where}")


@accounts_for("devices/graphics/listen")
def listen(place: Place) -> Iterator[Resource]:
    element, graphics_type = place.element, place.parent.get("type", "graphics")
    kind = element.get("type", "address")
    if kind == "address":
        address = element.get("address", "")
        if address not in _ANY_ADDRESS:
            yield _address(graphics_type, address)
    elif kind == "network":
        network = element.get("network", "")
        yield needed(ResourceKind.NETWORK, "network", network, tells=f"whether the target has the network {network}")
    elif kind == "socket":
        if element.get("socket"):
            yield _graphics_socket(graphics_type, element.get("socket", ""))
    elif kind != "none":
        yield unknown(place, f"listening of type {kind!r}")


def _address(kind: str, address: str) -> Resource:
    return needed(
        ResourceKind.ADDRESS, f"{kind} address", address, tells=f"whether the target has the address {address}"
    )


def _graphics_socket(kind: str, path: str) -> Resource:
    directory = path.rpartition("/")[0]
    return needed(
        ResourceKind.SOCKET, f"{kind} socket", path, tells=f"whether the target has the directory {directory}"
    )


@accounts_for("devices/graphics/gl")
def graphics_card(place: Place) -> Iterator[Resource]:
    where = place.element.get("rendernode")
    if where:
        yield needed(ResourceKind.GRAPHICS, "graphics card", where, tells=f"whether the target has {where}")


@accounts_for("devices/video")
def video(place: Place) -> Iterator[Resource]:
    """3D by virgl keeps state in the host's graphics driver: QEMU migrates none of it (virtio-gpu-gl)."""
    acceleration = place.element.find("./model/acceleration")
    driver = place.element.find("driver")
    outside = driver is not None and driver.get("name") == "vhostuser"
    with_3d = acceleration is not None and acceleration.get("accel3d") == "yes"
    if not outside and not with_3d:
        return
    where = acceleration.get("rendernode", "") if acceleration is not None else ""
    why = "QEMU moves no graphics card live whose state is in the host's driver (3D, vhost-user)"
    tells = "whether the target has a graphics card for it"
    yield needed(ResourceKind.GRAPHICS, "accelerated graphics", where, tells=tells, live=refuses(why))


@accounts_for("devices/audio")
def audio(place: Place) -> Iterator[Resource]:
    element = place.element
    kind = element.get("type", "")
    if kind == "file":
        yield log_file("audio", element.get("path", "libvirt's default"))
    elif kind in _HOST_SOUND:
        where = element.get("serverName", kind)
        yield needed(ResourceKind.SOCKET, "sound", where, tells=f"whether the target has sound through {kind}")
    elif kind not in ("none", "spice"):
        yield unknown(place, f"sound of type {kind!r}")


@accounts_for("devices/audio/input", "devices/audio/output")
def audio_device(place: Place) -> Iterator[Resource]:
    where = place.element.get("dev")
    if where:
        yield needed(ResourceKind.SOCKET, "sound device", where, tells=f"whether the target has {where}")


@accounts_for("devices/vsock")
def vsock(place: Place) -> Iterator[Resource]:
    cid = place.element.find("cid")
    if cid is not None and cid.get("auto") != "yes" and cid.get("address"):
        address = cid.get("address", "")
        yield needed(
            ResourceKind.ADDRESS, "vsock address", address, tells=f"whether CID {address} is free at the target"
        )


@accounts_for("devices/crypto")
def crypto(place: Place) -> Iterator[Resource]:
    """QEMU's virtio-crypto is declared unmigratable (hw/virtio/virtio-crypto.c)."""
    live = refuses("QEMU moves no virtio-crypto device live")
    where = place.element.get("model", "virtio")
    yield Resource(
        what="crypto device",
        kind=ResourceKind.GUEST,
        where=where,
        live_migrate=live,
        cold_migrate=COPIED,
        cold_archive=COPIED,
    )
