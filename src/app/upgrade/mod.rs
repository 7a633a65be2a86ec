//! How one mainstay takes over from another: no client is refused, no session ends, and what is left of the older process ends its
//! sessions when the newer one says so.
//!
//! | file | which process | what it does |
//! |---|---|---|
//! | [`give`] | the running one | starts the newer one, and hands everything to it |
//! | [`follow`] | the older one, from then on | obeys until its last session has ended; serves again if the newer one dies |
//! | [`take`] | the newer one | takes everything over, and begins to serve |
//! | [`lead`] | the newer one, from then on | tells older ones what is decided, and shows what they still serve |

mod follow;
mod give;
pub(super) mod lead;
mod take;

pub use give::Program;
pub use take::Predecessor;
