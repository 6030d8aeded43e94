//! The laboratory: what MBCAS is shown on, and measured with.
//!
//! | module | command | what it is |
//! | --- | --- | --- |
//! | [`serve`] | `mbcas-lab serve` | a server whose requests cost a known amount of CPU, and whose queue is the kernel's |
//! | [`burn`] | `mbcas-lab burn` | a noisy neighbour |
//! | [`load`] | `mbcas-lab load` | open-loop load that does not wait for slow answers |
//! | [`demo`] | `mbcas-lab demo` | the demo's referee: measures, and checks what the demo claims |
//! | [`simulate`] | `mbcas-lab simulate` | a whole node, simulated, under the market and its rivals |
//! | [`cpu`] | | CPU time, spent and measured |

pub mod burn;
pub mod cpu;
pub mod demo;
pub mod load;
pub mod serve;
pub mod simulate;
