"""What is on the disks of a libvirt node: volumes, streams, state files."""
