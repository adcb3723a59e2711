"""Definitions of guests as people have them, written here: ordinary ones, and one that names everything at once."""

from __future__ import annotations

UUID = "5b0c2a52-1f0e-4c7b-9a44-0d6f5f1c0001"


def definition(devices: str = "", *, more: str = "", os: str = "", metadata: str = "", kind: str = "kvm") -> str:
    """A small guest with these devices; `more` stands beside them, `os` inside `<os>`."""
    return (
        f"<domain type='{kind}' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'><name>web</name>"
        f"<uuid>{UUID}</uuid>{metadata}<memory unit='MiB'>512</memory><vcpu>2</vcpu>"
        f"<os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type>{os}</os>{more}<devices>{devices}</devices></domain>"
    )


def disk(source: str, *, type: str = "file", device: str = "disk", format: str = "qcow2", more: str = "") -> str:
    return (
        f"<disk type='{type}' device='{device}'><driver name='qemu' type='{format}'/>{source}"
        f"<target dev='vda' bus='virtio'/>{more}</disk>"
    )


ROOT = disk("<source file='/images/root.qcow2'/>")

LINUX = definition(
    """
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' discard='unmap'/><source file='/var/lib/libvirt/images/fedora.qcow2'/>
      <target dev='vda' bus='virtio'/><boot order='1'/>
      <address type='pci' domain='0x0000' bus='0x04' slot='0x00' function='0x0'/>
    </disk>
    <disk type='file' device='cdrom'><driver name='qemu' type='raw'/><target dev='sda' bus='sata'/><readonly/>
      <address type='drive' controller='0' bus='0' target='0' unit='0'/></disk>
    <controller type='usb' index='0' model='qemu-xhci' ports='15'/>
    <controller type='pci' index='0' model='pcie-root'/>
    <controller type='pci' index='1' model='pcie-root-port'>
      <model name='pcie-root-port'/><target chassis='1' port='0x10'/></controller>
    <controller type='virtio-serial' index='0'/>
    <interface type='network'><mac address='52:54:00:0a:0b:0c'/><source network='default'/><model type='virtio'/></interface>
    <serial type='pty'><target type='isa-serial' port='0'><model name='isa-serial'/></target></serial>
    <console type='pty'><target type='serial' port='0'/></console>
    <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
    <channel type='spicevmc'><target type='virtio' name='com.redhat.spice.0'/></channel>
    <input type='tablet' bus='usb'/><input type='mouse' bus='ps2'/><input type='keyboard' bus='ps2'/>
    <tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>
    <graphics type='spice' autoport='yes'><listen type='address'/><image compression='off'/></graphics>
    <sound model='ich9'/><audio id='1' type='spice'/>
    <video><model type='virtio' heads='1' primary='yes'/></video>
    <redirdev bus='usb' type='spicevmc'/><redirdev bus='usb' type='spicevmc'/>
    <watchdog model='itco' action='reset'/><memballoon model='virtio'/>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
    """,
    os="<loader readonly='yes' secure='yes' type='pflash'>/usr/share/edk2/ovmf/OVMF_CODE.secboot.fd</loader>"
    "<nvram template='/usr/share/edk2/ovmf/OVMF_VARS.secboot.fd'>/var/lib/libvirt/qemu/nvram/fedora_VARS.fd</nvram>"
    "<boot dev='hd'/>",
    more="<features><acpi/><apic/><smm state='on'/><vmport state='off'/></features>"
    "<cpu mode='host-passthrough' check='none' migratable='on'/>"
    "<clock offset='utc'><timer name='rtc' tickpolicy='catchup'/><timer name='hpet' present='no'/></clock>"
    "<on_poweroff>destroy</on_poweroff><on_reboot>restart</on_reboot><on_crash>destroy</on_crash>"
    "<pm><suspend-to-mem enabled='no'/><suspend-to-disk enabled='no'/></pm>"
    "<seclabel type='dynamic' model='selinux' relabel='yes'/>",
    metadata="<metadata><libosinfo:libosinfo xmlns:libosinfo='http://libosinfo.org/xmlns/libvirt/domain/1.0'>"
    "<libosinfo:os id='http://fedoraproject.org/fedora/40'/></libosinfo:libosinfo></metadata>",
)
"""as virt-manager makes a Linux guest"""

WINDOWS = definition(
    """
    <emulator>/usr/libexec/qemu-kvm</emulator>
    <disk type='block' device='disk'><driver name='qemu' type='raw' cache='none' io='native'/><source dev='/dev/vg0/win'/>
      <target dev='sda' bus='scsi'/><serial>WIN-0001</serial></disk>
    <disk type='file' device='cdrom'><driver name='qemu' type='raw'/>
      <source file='/var/lib/libvirt/images/virtio-win.iso'/><target dev='sdb' bus='sata'/><readonly/></disk>
    <controller type='scsi' index='0' model='virtio-scsi'><driver queues='4' iothread='1'/></controller>
    <interface type='bridge'><mac address='52:54:00:0d:0e:0f'/><source bridge='br0'/><model type='virtio'/>
      <driver name='vhost' queues='4'/><mtu size='9000'/></interface>
    <graphics type='vnc' port='-1' autoport='yes' listen='127.0.0.1'><listen type='address' address='127.0.0.1'/></graphics>
    <video><model type='qxl' ram='65536' vram='65536' vgamem='16384' heads='1'/></video>
    <tpm model='tpm-tis'><backend type='emulator' version='2.0' persistent_state='yes'/></tpm>
    <panic model='hyperv'/><memballoon model='virtio'><stats period='10'/></memballoon>
    """,
    os="<boot dev='hd'/><smbios mode='sysinfo'/>",
    more="<sysinfo type='smbios'><system><entry name='serial'>abc</entry></system></sysinfo><iothreads>1</iothreads>"
    "<features><acpi/><apic/><hyperv mode='custom'><relaxed state='on'/><vapic state='on'/>"
    "<spinlocks state='on' retries='8191'/><vendor_id state='on' value='KVM Hv'/></hyperv></features>"
    "<cpu mode='custom' match='exact' check='partial'><model fallback='forbid'>Skylake-Client</model>"
    "<topology sockets='1' dies='1' cores='2' threads='1'/><feature policy='require' name='vmx'/></cpu>"
    "<clock offset='localtime'><timer name='hypervclock' present='yes'/></clock>",
    metadata="<metadata><app:note xmlns:app='urn:app'>/srv/notes</app:note></metadata>",
)
"""a Windows server on LVM, bridged"""

CEPH = definition(
    """
    <disk type='network' device='disk'><driver name='qemu' type='raw' cache='writeback' discard='unmap'/>
      <auth username='nova'><secret type='ceph' uuid='0c3d8f7a-0001-4000-8000-0123456789ab'/></auth>
      <source protocol='rbd' name='vms/1234_disk'><host name='mon1.example.net' port='6789'/>
        <host name='mon2.example.net' port='6789'/></source>
      <target dev='vda' bus='virtio'/><iotune><total_iops_sec>500</total_iops_sec></iotune></disk>
    <interface type='bridge'><source bridge='br-int'/><virtualport type='openvswitch'>
      <parameters interfaceid='9ad3b3d0-0001-4000-8000-0123456789ab'/></virtualport><target dev='tap1'/>
      <model type='virtio'/></interface>
    <serial type='pty'><log file='/var/lib/nova/instances/1234/console.log' append='off'/><target port='0'/></serial>
    <rng model='virtio'><rate bytes='1024' period='1000'/><backend model='random'>/dev/urandom</backend></rng>
    """,
    more="<cputune><shares>2048</shares></cputune>",
)
"""as a cloud makes one, on Ceph"""

EVERYTHING = definition(
    """
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='network' device='lun'><driver name='qemu' type='raw'/><auth username='a'><secret type='iscsi' usage='s'/></auth>
      <source protocol='rbd' name='p/a'><host name='mon' port='1'/><config file='/etc/ceph/ceph.conf'/>
        <auth username='a'><secret type='ceph' usage='s'/></auth><reservations managed='no'>
        <source type='unix' path='/run/pr.sock' mode='client'/></reservations>
        <identity user='a' keyfile='/root/.ssh/id'/><knownHosts path='/root/.ssh/known_hosts'/>
        <encryption format='luks'><secret type='passphrase' usage='t'/></encryption></source>
      <encryption format='luks'><secret type='passphrase' usage='t'/></encryption><target dev='vda'/></disk>
    <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/i/b'>
        <dataStore type='file'><format type='raw'/><source file='/i/b.raw'/></dataStore></source>
      <backingStore type='file'><format type='qcow2'/><source file='/i/base'/><backingStore/></backingStore>
      <mirror type='file' job='copy'><format type='qcow2'/><source file='/i/m'/></mirror><target dev='vdb'/></disk>
    <filesystem type='mount'><driver type='virtiofs'/><binary path='/usr/libexec/virtiofsd'/><source dir='/srv/d'/>
      <target dir='d'/></filesystem>
    <serial type='dev'><source path='/dev/ttyS0'/><log file='/var/log/s.log'/><target port='0'/></serial>
    <parallel type='dev'><source path='/dev/parport0'/><target port='0'/></parallel>
    <console type='unix'><source mode='connect' path='/srv/c.sock'/><target type='virtio' port='1'/></console>
    <channel type='pipe'><source path='/srv/fifo'/><target type='virtio' name='x'/></channel>
    <redirdev bus='usb' type='tcp'><source mode='connect' host='h' service='4000'/><protocol type='raw'/></redirdev>
    <smartcard mode='host'/><iommu model='amd'/>
    <rng model='virtio'><backend model='random'>/dev/hwrng</backend></rng>
    <graphics type='spice' port='5900' autoport='no'><listen type='address' address='192.0.2.7'/>
      <gl enable='yes' rendernode='/dev/dri/renderD128'/></graphics>
    <video><model type='virtio'><acceleration accel3d='yes'/></model></video>
    <audio id='1' type='oss'><input dev='/dev/dsp0'/><output dev='/dev/dsp1'/></audio>
    <hostdev mode='subsystem' type='scsi'><source protocol='iscsi' name='iqn.2026-01.net:1/0'><host name='h' port='3260'/>
      <auth username='a'><secret type='iscsi' usage='s'/></auth></source></hostdev>
    <hostdev mode='subsystem' type='pci' managed='yes'><source><address domain='0' bus='3' slot='0' function='0'/></source>
      <rom file='/srv/card.rom'/></hostdev>
    <interface type='network'><source network='lan'/><backend tap='/dev/net/tun'/><filterref filter='clean-traffic'/>
      <script path='/etc/up'/><downscript path='/etc/down'/></interface>
    <input type='evdev'><source dev='/dev/input/event1'/></input>
    <lease><lockspace>l</lockspace><key>k</key><target path='/srv/lock' offset='1024'/></lease>
    <memory model='nvdimm'><source><path>/srv/nv</path></source><target><size unit='MiB'>512</size></target></memory>
    <shmem name='peer' role='peer'><model type='ivshmem-plain'/><size unit='M'>4</size></shmem>
    <pstore backend='acpi-erst'><path>/srv/ps</path><size unit='KiB'>8</size></pstore>
    <tpm model='tpm-crb'><backend type='emulator' version='2.0'><encryption secret='0c3d8f7a-0001-4000-8000-0123456789ab'/>
      </backend></tpm>
    <vsock model='virtio'><cid auto='no' address='3'/></vsock>
    <crypto model='virtio' type='qemu'><backend model='builtin'/></crypto>
    """,
    os="<loader readonly='yes' type='pflash'>/usr/share/OVMF/CODE.fd</loader><nvram>/srv/VARS.fd</nvram>"
    "<varstore path='/srv/v.json'/><kernel>/boot/k</kernel><initrd>/boot/i</initrd><dtb>/boot/d</dtb><shim>/boot/s</shim>"
    "<acpi><table type='slic'>/srv/slic.bin</table></acpi>",
    more="<sysinfo type='fwcfg'><entry name='opt/x' file='/srv/fw.bin'/></sysinfo>"
    "<features><hyperv mode='passthrough'/></features>"
    "<memoryBacking><hugepages/><source type='file'/></memoryBacking>"
    "<blkiotune><device><path>/dev/sda</path><weight>500</weight></device></blkiotune>"
    "<cputune><vcpupin vcpu='0' cpuset='2'/><emulatorpin cpuset='1'/><iothreadpin iothread='1' cpuset='3'/>"
    "<cachetune vcpus='0'><cache id='0' level='3' type='both' size='3' unit='MiB'/></cachetune>"
    "<memorytune vcpus='0'><node id='0' bandwidth='60'/></memorytune></cputune>"
    "<numatune><memory mode='strict' nodeset='0'/><memnode cellid='0' mode='strict' nodeset='0'/></numatune>"
    "<resource><partition>/machine/gold</partition></resource><cpu mode='host-model'/>"
    "<on_poweroff>restart</on_poweroff><launchSecurity type='tdx'><policy>0x1</policy>"
    "<quoteGenerationService path='/run/qgs.sock'/></launchSecurity>"
    "<qemu:commandline><qemu:arg value='-drive'/><qemu:arg value='file=/srv/hidden.img,if=virtio'/></qemu:commandline>"
    "<qemu:override><qemu:device alias='ua-1'><qemu:frontend><qemu:property name='x' type='string' value='/srv/x'/>"
    "</qemu:frontend></qemu:device></qemu:override>",
)
"""one of everything that has a handler"""
