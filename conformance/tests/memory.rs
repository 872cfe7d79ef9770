//! The suite on the reference backend.

use conformance::engines::memory::MemoryHarness;

conformance::conformance_suite!(MemoryHarness);
