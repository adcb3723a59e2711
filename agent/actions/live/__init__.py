"""A live migration, and what happens to guest and disks around it."""
