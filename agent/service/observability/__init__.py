"""How the background agent says how it is: metrics, probes and a status page, on loopback and read-only."""
