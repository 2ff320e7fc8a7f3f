//! Descriptors: CLOEXEC, extended attributes, resource limits.
