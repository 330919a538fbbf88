//! The words of the log as types: no I/O happens here.

pub mod collection;
pub mod ids;
pub mod record;
pub mod secret;
pub mod time;

pub use collection::{CollectionName, InvalidName};
pub use ids::{ChangeNumber, Epoch, Generation, LogId, Sequence};
pub use record::{Header, NewRecord, Record, RecordKind};
pub use secret::{MASK, Secret};
pub use time::Timestamp;
