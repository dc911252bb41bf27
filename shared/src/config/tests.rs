//! How a whole configuration is read, refused and printed.
