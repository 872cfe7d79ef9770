//! What is the sled backend's own, and the conformance suite on it.
