//! Users and groups, by NSS.
