"""Components of the k3s-macvlan program, by room. Each imports only from the rooms above it.

node     how a node is reached, and the scripts that run on it
config   what a stack's configuration says, and what follows from it; pure
custom   custom resources without libvirt
libvirt  custom resources over libvirt's API; its own `__init__` has the map
machine  a hypervisor and a node's machine
cluster  K3s on all machines, and Kubernetes's API
network  Multus, the pods' network, the pod and its page

`outputs` are those of the stack, `completion` waits for all that the program has begun, `interrupt` ends it, `sdk_shortcuts` is
what it does without of the SDK, `redact` takes secrets out of texts. Packages here import nothing: dynamic providers load them in a
process of their own.
"""
