"""What a guest boots: the machine's Debian kernel, and an initramfs with busybox, the drivers and lab/nodes/guest/guest.c."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import shutil
from dataclasses import dataclass
from pathlib import Path

from lab.nodes.node import run
from models.errors import LabError
from tools.atomic_file import write_atomically

_SOURCE = Path(__file__).parent / "guest"
# virtio disk, network, balloon (memory statistics); button and evdev for the ACPI power button (graceful shutdown)
_DRIVERS = ("virtio_pci", "virtio_blk", "virtio_net", "virtio_balloon", "button", "evdev")
BUSYBOX = Path("/bin/busybox")


@dataclass(frozen=True, kw_only=True)
class BootImage:
    kernel: Path
    initramfs: Path
    emulator: Path
    """QEMU by way of lab/nodes/guest/qemu-tcg, without which a live migration loses memory"""


def find_kernel() -> tuple[Path, Path] | None:
    """The newest cloud kernel and its modules directory; any other kernel with modules when there is none."""
    for pattern in ("vmlinuz-*-cloud-*", "vmlinuz-*"):
        for kernel in sorted(Path("/boot").glob(pattern), reverse=True):
            modules = Path("/lib/modules") / kernel.name.removeprefix("vmlinuz-")
            if (modules / "modules.dep").exists():
                return kernel, modules
    return None


def build(directory: Path) -> BootImage:
    """Compile the guest program and pack the initramfs. A file made from the same inputs before is used again.

    Raises LabError with the compiler's words."""
    installed = find_kernel()
    if installed is None:
        raise LabError("no kernel with modules in /boot", hint="apt-get install linux-image-cloud-amd64")
    kernel, modules = installed
    inputs = [_SOURCE / "guest.c", _SOURCE / "init", BUSYBOX, kernel, Path(__file__)]
    digest = hashlib.sha256(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in inputs)).hexdigest()[:16]
    image = BootImage(
        kernel=directory / f"vmlinuz-{digest}",
        initramfs=directory / f"initramfs-{digest}.gz",
        emulator=directory / "qemu-tcg",
    )
    directory.mkdir(parents=True, exist_ok=True)
    shutil.copy(_SOURCE / "qemu-tcg", image.emulator)
    if image.initramfs.exists() and image.kernel.exists():
        return image
    program = directory / "guest"
    run(["cc", "-static", "-Os", "-o", str(program), str(_SOURCE / "guest.c"), "-pthread"], where="guest program")
    loaded = drivers(modules)
    files = {
        "bin/busybox": (BUSYBOX.read_bytes(), 0o755),
        "init": ((_SOURCE / "init").read_bytes(), 0o755),
        "guest": (program.read_bytes(), 0o755),
        "modules/order": ("".join(f"{path.name.split('.ko')[0]}.ko\n" for path in loaded).encode(), 0o644),
        **{f"modules/{path.name.split('.ko')[0]}.ko": (_module(path), 0o644) for path in loaded},
    }
    shutil.copyfile(kernel, image.kernel)  # a copy: an upgrade of the machine's kernel must not change a running lab
    write_atomically(image.initramfs, gzip.compress(cpio(files), compresslevel=1, mtime=0), mode=None)
    return image


def drivers(modules: Path) -> list[Path]:
    """The drivers and what they depend on, in the order to load them; built-in ones need no file."""
    depends: dict[str, list[str]] = {}
    by_name: dict[str, str] = {}
    for line in (modules / "modules.dep").read_text().splitlines():
        path, _, rest = line.partition(":")
        depends[path] = rest.split()
        by_name[Path(path).name.split(".ko")[0].replace("-", "_")] = path
    builtin = (modules / "modules.builtin").read_text()
    order: list[Path] = []
    for driver in _DRIVERS:
        if driver not in by_name:
            if f"/{driver}.ko" in builtin.replace("-", "_"):
                continue
            raise LabError(
                f"kernel {modules.name} has no driver {driver}", hint="apt-get install linux-image-cloud-amd64"
            )
        for path in [*reversed(depends[by_name[driver]]), by_name[driver]]:
            if modules / path not in order:
                order.append(modules / path)
    return order


def _module(path: Path) -> bytes:
    data = path.read_bytes()
    if path.suffix == ".xz":
        return lzma.decompress(data)
    if path.suffix == ".zst":
        import zstandard

        return zstandard.ZstdDecompressor().decompressobj().decompress(data)
    if path.suffix == ".gz":
        return gzip.decompress(data)
    return data


def cpio(files: dict[str, tuple[bytes, int]]) -> bytes:
    """An SVR4 "newc" archive (the kernel's Documentation/driver-api/early-userspace/buffer-format.rst)."""
    directories = sorted({str(parent) for name in files for parent in Path(name).parents} - {"."})
    entries = [(name, b"", 0o040755) for name in directories]
    entries += [(name, data, 0o100000 | mode) for name, (data, mode) in files.items()]
    # the kernel opens /dev/console before /init has mounted devtmpfs
    out = bytearray(_entry("dev", b"", 0o040755) + _entry("dev/console", b"", 0o020600, device=(5, 1)))
    for name, data, mode in entries:
        out += _entry(name, data, mode)
    return bytes(out + _entry("TRAILER!!!", b"", 0))


def _entry(name: str, data: bytes, mode: int, device: tuple[int, int] = (0, 0)) -> bytes:
    fields = [0, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name) + 1, 0]
    header = b"070701" + b"".join(b"%08X" % value for value in fields) + name.encode() + b"\0"
    header += b"\0" * (-len(header) % 4)
    return header + data + b"\0" * (-len(data) % 4)
