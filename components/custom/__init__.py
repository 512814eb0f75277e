"""Custom resources without libvirt, and what all custom resources share."""
