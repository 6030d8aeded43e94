//! Nothing but a place for `tests/`: what joins the crates is tested here, on public seams only.
//!
//! | binary | what it needs | what it shows |
//! | --- | --- | --- |
//! | `seams` | nothing | the rooms fit together, and depend on each other one way |
//! | `chart` | helm 3 and 4, feature `chart` | the chart renders, is valid, and reaches nothing that it must not |
//! | `cluster` | a real cluster, feature `cluster` | MBCAS does what it says on a real kubelet |
