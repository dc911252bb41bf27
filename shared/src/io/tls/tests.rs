//! Handshakes between nodes, wanted and unwanted.
