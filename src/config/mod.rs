//! The configuration: INI lines to one table of keys to a validated model, every error at once.
