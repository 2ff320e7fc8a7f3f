//! What happens between fork and exec, and signals to process groups.
