//! The suite on the reference backend.

mod harness;

use harness::MemoryHarness;

conformance::conformance_suite!(MemoryHarness);
