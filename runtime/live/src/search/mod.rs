//! What cameras saw, to be asked for later: an index of embeddings in one file, and the search in it.
//!
//! A frame leaves the embeddings of those patches that look like none before them, as 8-bit integers, and says where in the picture what
//! is like each of them was. A search scores the embeddings with a word's, exactly, and answers when, on what camera and where.
//!
//! ```
//! use edge_seg_live::search::{Index, IndexOptions, IndexWriter, Query, Seen};
//! use edge_seg_model::{Options, Session, read_picture};
//! # fn main() -> edge_seg_live::Result<()> {
//! # let folder = tempfile::tempdir().expect("a folder for the test");
//! # let path = folder.path().join("seen.index");
//! # let cat = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/pictures/cat.jpg");
//! let session = Session::built_in_with(&Options::default().with_size_px(224))?;
//! let frame = read_picture(&cat)?;
//! let mut index = IndexWriter::open(&path, &session, &IndexOptions::default())?;
//! let (time, at) = (std::time::SystemTime::now(), std::time::Duration::ZERO);
//! index.add(&Seen::new(&session.encode(&frame)?, &frame.pixels, time, at, "hall"))?;
//! let found = Index::open(&path)?.find(&session, &session.words("cat")?, &Query::default())?;
//! assert_eq!(&*found[0][0].origin, "hall");
//! # Ok(())
//! # }
//! ```

mod answer;
mod due;
mod format;
mod names;
mod reader;
mod sink;
#[cfg(test)]
#[expect(clippy::print_stdout, reason = "what is measured is told")]
mod tests;
mod writer;

pub use answer::{Answer, Lost};
pub use names::time_in_name;
pub use reader::{Contents, Damage, Index, Query, Sighting};
pub use sink::IndexSink;
pub use writer::{IndexOptions, IndexWriter, Seen};
