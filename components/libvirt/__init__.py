"""Custom resources over libvirt-python, one file for each of libvirt's objects."""
