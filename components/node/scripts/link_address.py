"""Checks the address of the test link of macvlan-check.sh.

Arguments: the address with its prefix, the gateway, and true where the gateway must be in its network. Exit: 0; 1 with the reason.
"""

import sys
from ipaddress import IPv4Address, IPv4Interface


def check(address: str, gateway: str, ping: str) -> None:
    try:
        interface = IPv4Interface(address)
        if "/" not in address:
            sys.exit("macvlan: TEST_ADDRESS needs a prefix, as in 192.168.122.205/24")
        if ping == "true" and IPv4Address(gateway) not in interface.network:
            sys.exit(f"macvlan: the gateway {gateway} is not in the network of the test address {address}")
    except ValueError as error:
        sys.exit(f"macvlan: {error}")


if __name__ == "__main__":
    check(*sys.argv[1:4])
