//! Is anybody listening there yet?
