//! Giving memory back.

/// Gives the memory that was freed, and is kept for the next time, back to the kernel
/// (malloc_trim(3)). Whoever allocates waits meanwhile: some microseconds, where there is little,
/// up to a millisecond for ten megabytes.
///
/// Does nothing with another C library than glibc.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it has no preconditions. Its result says only whether it could give any back.
    unsafe {
        nix::libc::malloc_trim(0);
    }
}
