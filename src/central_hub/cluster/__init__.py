"""Which hubs share the store, and how they stand; the roster itself is the kernel's, and kept in the store."""
