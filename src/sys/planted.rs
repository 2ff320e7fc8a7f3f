//! Faults on purpose, which `tests/memory` runs to see that they are noticed: a watcher that is
//! not there finds nothing either.

use std::{fs::File, hint::black_box, os::fd::AsRawFd};

use nix::libc;

#[test]
#[ignore = "a fault on purpose"]
fn memory_is_read_after_it_was_freed() {
    let pointer = Box::into_raw(Box::new([7_u8; 64]));
    // SAFETY: the box is freed once. The read after it is the fault.
    let byte = unsafe {
        drop(Box::from_raw(pointer));
        black_box(pointer).cast::<u8>().read_volatile()
    };
    black_box(byte);
}

#[test]
#[ignore = "a fault on purpose"]
fn memory_is_forgotten() {
    std::mem::forget(black_box(vec![7_u8; 64]));
}

#[test]
#[ignore = "a fault on purpose"]
fn bytes_that_nobody_wrote_are_given_to_the_kernel() {
    let nobody = File::create("/dev/null").unwrap();
    let bytes = black_box(Vec::<u8>::with_capacity(64));
    // SAFETY: so many bytes are ours. That they have no value is the fault.
    unsafe { libc::write(nobody.as_raw_fd(), bytes.as_ptr().cast(), 64) };
}
