"""A hypervisor's share of the stack, and the machine of a node."""
