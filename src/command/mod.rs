//! START, CHECK, STOP, IDLE and READY commands: spawned, timed, read, reaped.
