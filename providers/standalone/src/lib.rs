//! Serves DCV files from a built-in HTTP server.
