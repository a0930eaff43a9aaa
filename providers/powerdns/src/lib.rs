//! The PowerDNS authoritative HTTP API as a dcv provider.
