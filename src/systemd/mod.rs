//! What systemd gives and is told: sockets, notifications, stored descriptors, the journal.
