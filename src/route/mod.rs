//! The seam between the planes. Control publishes, data takes, admin reads; what data learns goes back as bounded, lossy reports.
//! Nothing else crosses.
//!
//! | file | what crosses there |
//! |---|---|
//! | [`offer`] | [`Route`]: control → data |
//! | [`orders`](mod@orders) | what operators order, and the answer: admin ↔ control |
//! | [`revocation`] | how a route ends: control → data |
//! | [`readers`] | which backends may be read: control → data |
//! | [`snapshot`] | a pool as it stands: control → admin |
//! | [`events`] | state changes with their causes: control → admin |
//! | [`reports`] | what the byte path learns: data → control |
//! | [`demand`] | whether a client waits: data → control |
//! | [`sessions`] | the live sessions: data → admin, control |
//! | [`clock`] | the clock that all planes share |
//! | [`seam`](mod@seam) | the ends of all this, one for each plane |

mod clock;
mod demand;
mod events;
mod offer;
mod orders;
mod readers;
mod reports;
mod revocation;
mod seam;
mod sessions;
mod snapshot;

pub use clock::Clock;
pub use demand::{DemandWatch, Wait};
pub use events::{EventLog, StateEvent};
pub use offer::{Generation, Offer, Route, RouteId};
pub use orders::{Done, Order, OrderReceiver, OrderSender, Refusal, RefusalCode, Verb, orders};
pub use readers::{Pulse, Reader, ReaderKind};
pub use reports::{PassiveReport, ReportReceiver, ReportSender};
pub use revocation::{Listening, Revocation};
pub use seam::{Gate, Publisher, RouteWatch, Seam, SnapshotWatch, seam};
pub use sessions::{Frontend, Selection, Session, SessionEntry, SessionTable, kill};
pub use snapshot::{BackendView, LastFailover, LastProbe, Snapshot};
