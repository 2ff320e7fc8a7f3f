//! The two-way copy between one client and one destination.
