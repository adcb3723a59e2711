"""What libvirt and QEMU say of a live migration, and what bears on it."""
