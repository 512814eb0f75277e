"""Custom resources over libvirt-python, and what they read and write.

connection, ssh_tunnel, xml                     the API, and its XML
pool, base_image, prepared_image, overlay_disk, data_disk, seed_image, artifact_disk
                                                a custom resource each; over them volume_provider, volume_store, storage_xml
network, reservation, dhcp_claim, dhcp_range    the network and addresses of it; network_xml, leases, claim_record, lease_release
nic_xml, nic_update                             a machine's NICs; device_words, what is compared of its devices
domain                                          the machine: domain_spec what it is to be, domain_xml what it is, domain_edit and
                                                domain_apply what changes, domain_KIND a kind of devices each, domain_removal
host_device, node_devices                       USB and PCI devices of the hypervisor
unmanaged, obstacles, disk_obstacles, domain_additions
                                                what others have made of it, and where that is in the way
guest_report, domain_agent                      what is known of a machine that does not answer
stack_guests, leftovers, image_lock, image_store, image_boot
                                                all machines of a stack, what is left of the dead, images
"""
