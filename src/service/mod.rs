//! The heart, free of I/O: generations and their lifecycle, hold queue, idle policy, balancing.
