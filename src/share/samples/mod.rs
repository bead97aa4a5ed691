//! Samples: an answer with several choices, dealt out so that each of its callers
//! sees a normal answer with one.

mod choices;
mod deal;
mod stream;

pub use choices::Parted;
pub use deal::shares;
pub use stream::Dealer;
