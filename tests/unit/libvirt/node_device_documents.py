"""Node devices as libvirt 9.0 writes them (https://libvirt.org/formatnode.html). The first two are recorded, from a host without
an IOMMU; the others are written after its format."""

from __future__ import annotations

NIC_WITHOUT_IOMMU = """<device>
  <name>pci_0000_00_03_0</name>
  <path>/sys/devices/pci0000:00/0000:00:03.0</path>
  <parent>computer</parent>
  <driver>
    <name>virtio-pci</name>
  </driver>
  <capability type='pci'>
    <class>0x020000</class>
    <domain>0</domain>
    <bus>0</bus>
    <slot>3</slot>
    <function>0</function>
    <product id='0x1041'/>
    <vendor id='0x1af4'/>
  </capability>
</device>"""
LOOPBACK = """<device>
  <name>net_lo_00_00_00_00_00_00</name>
  <path>/sys/devices/virtual/net/lo</path>
  <parent>computer</parent>
  <capability type='net'>
    <interface>lo</interface>
    <address>00:00:00:00:00:00</address>
    <link state='unknown'/>
  </capability>
</device>"""


def usb(port: str, vendor: str, product: str, number: int, *, names: tuple[str, str] = ("", "")) -> str:
    bus = port.partition("-")[0]
    return f"""<device><name>usb_{port.replace("-", "_").replace(".", "_")}</name>
<path>/sys/devices/pci0000:00/0000:00:14.0/usb{bus}/{bus}-1/{port}</path>
<devnode type='dev'>/dev/bus/usb/{int(bus):03}/{number:03}</devnode>
<parent>usb_usb{bus}</parent><driver><name>usb</name></driver>
<capability type='usb_device'><bus>{bus}</bus><device>{number}</device>
<product id='0x{product}'>{names[1]}</product><vendor id='0x{vendor}'>{names[0]}</vendor></capability></device>"""


HUB_OF_USB = """<device><name>usb_usb1</name><path>/sys/devices/pci0000:00/0000:00:14.0/usb1</path>
<parent>pci_0000_00_14_0</parent><driver><name>usb</name></driver>
<capability type='usb_device'><bus>1</bus><device>1</device><product id='0x0002'>2.0 root hub</product>
<vendor id='0x1d6b'>Linux Foundation</vendor></capability></device>"""
STICK = usb("1-2.3", "1a86", "7523", 6, names=("QinHeng Electronics", "CH340 serial converter"))
SECOND_STICK = usb("1-4", "1a86", "7523", 7)
READER = usb("2-1", "04e6", "5116", 2)


def pci(
    address: str,
    vendor: str,
    product: str,
    *,
    driver: str = "",
    group: int | None = 12,
    members: tuple[str, ...] = (),
    bridge: bool = False,
) -> str:
    domain, bus, rest = address.split(":")
    slot, function = rest.split(".")
    numbers = (
        f"<domain>{int(domain, 16)}</domain><bus>{int(bus, 16)}</bus><slot>{int(slot, 16)}</slot><function>{function}</function>"
    )
    bound = f"<driver><name>{driver}</name></driver>" if driver else ""
    inner = "<capability type='pci-bridge'/>" if bridge else ""
    if group is not None:
        places = "".join(
            f"<address domain='0x{member[:4]}' bus='0x{member[5:7]}' slot='0x{member[8:10]}' function='0x{member[11:]}'/>"
            for member in (address, *members)
        )
        inner += f"<iommuGroup number='{group}'>{places}</iommuGroup>"
    name = "pci_" + address.replace(":", "_").replace(".", "_")
    return f"""<device><name>{name}</name><path>/sys/devices/pci0000:00/{address}</path><parent>computer</parent>{bound}
<capability type='pci'><class>{"0x060400" if bridge else "0x020000"}</class>{numbers}
<product id='0x{product}'>Ethernet Controller X710</product><vendor id='0x{vendor}'>Intel Corporation</vendor>{inner}
</capability></device>"""
