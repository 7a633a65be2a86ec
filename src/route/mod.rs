//! The seam between the planes. Control publishes, data takes, admin reads; what data learns goes back as bounded, lossy reports.
//! Nothing else crosses.
//!
//! | file | what crosses there |
//! |---|---|
//! | [`offer`] | [`Route`]: control → data |
//! | [`operations`] | what operations do: control → admin |
//! | [`orders`](mod@orders) | what operators order, and the answer: admin ↔ control |
//! | [`guard`](mod@guard) | what is proven of each backend: control → admin |
//! | [`prints`] | what a server is made of: control → admin |
//! | [`revocation`] | how a route ends, and its gate: control → data |
//! | [`gate`] | where a session stands at that gate: data ↔ control |
//! | [`places`] | how many sessions a backend may have, and how fast they may begin: control → data |
//! | [`taken`] | a route, and a session, with a place at its backend |
//! | [`readers`] | which backends may be read: control → data |
//! | [`older`] | what older processes of an upgrade still serve: app → admin |
//! | [`snapshot`] | a pool as it stands: control → admin |
//! | [`events`] | state changes with their causes: control → admin |
//! | [`reports`] | what the byte path learns: data → control |
//! | [`demand`] | whether a client waits: data → control |
//! | [`sessions`] | the live sessions: data → admin, control |
//! | [`clients`] | what clients feel of a failure: data → admin |
//! | [`clock`] | the clock that all planes share |
//! | [`rfc3339`] | times as text |
//! | [`seam`](mod@seam) | the ends of all this, one for each plane |

mod clients;
mod clock;
mod demand;
mod events;
mod gate;
mod guard;
mod offer;
mod older;
mod operations;
mod orders;
mod places;
mod prints;
mod readers;
mod reports;
mod revocation;
pub(crate) mod rfc3339;
mod seam;
mod sessions;
mod snapshot;
mod taken;

pub use clients::{ClientLog, Trouble, WaitEnd};
pub use clock::Clock;
pub use demand::{DemandWatch, Wait};
pub use events::{EventLog, StateEvent};
pub use gate::{Gating, Leg, Position, SessionGate, Stand};
pub use guard::{GuardLog, GuardView, ProofView};
pub use offer::{Generation, Offer, Route, RouteId};
pub use older::{OlderBackend, OlderLog, OlderPool, OlderProcess};
pub use operations::{EndView, OperationLog, OperationView, StepView, TrialView};
pub use orders::{Done, Order, OrderReceiver, OrderSender, Refusal, RefusalCode, Verb, orders};
pub use places::{Busy, PlaceTurn, Places, RampRate};
pub use prints::{Difference, Print, PrintGroup, PrintItem, short};
pub use readers::{Pulse, Reader, ReaderKind};
pub use reports::{PassiveReport, ReportReceiver, ReportSender};
pub use revocation::{Listening, Revocation};
pub use seam::{Gate, Publisher, RouteWatch, Seam, SnapshotWatch, seam};
pub use sessions::{Frontend, Selection, Session, SessionEntry, SessionTable, kill, send};
pub use snapshot::{BackendView, LastFailover, LastProbe, Snapshot};
pub use taken::{OpenSession, TakenRoute};
