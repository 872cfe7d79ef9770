//! What is the Postgres backend's own, and the conformance suite on it.
