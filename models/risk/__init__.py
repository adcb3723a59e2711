"""What is known of nodes: signals, parts, risks, levels and tiers."""
