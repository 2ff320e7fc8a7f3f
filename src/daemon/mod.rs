//! Carries out what the services decide: one task per service, and what is around them.
