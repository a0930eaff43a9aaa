//! RFC 2136 dynamic update with TSIG as a dcv provider.
