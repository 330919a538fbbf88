//! Against a loopback server with answers of its own.
