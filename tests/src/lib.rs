//! Nothing but a place for `tests/`: what joins the crates is tested here, on public seams only.
//!
//! | binary | what it needs | what it shows |
//! | --- | --- | --- |
//! | `seams` | nothing | the rooms fit together, and depend on each other one way |
//! | `cluster` | a real cluster, feature `cluster` | MBCAS does what it says on a real kubelet |
