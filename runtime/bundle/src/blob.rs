//! A blob that is read in pieces.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::OnceLock;

use sha2::{Digest, Sha256};

use crate::content::Content;
use crate::files::hex;
use crate::format::{Blob, Bundle, check_digest};
use crate::{Error, Result};

/// A blob, in memory or in a bundle's file, that is read in pieces. Ranges lie within its length.
#[derive(Debug)]
pub struct BlobReader<'a>(Reader<'a>);

#[derive(Debug)]
enum Reader<'a> {
    /// For as long as the program runs.
    Static(&'static [u8]),
    /// Checked, whole.
    Memory(Cow<'a, [u8]>),
    /// Where it was checked when the bundle was opened.
    File { content: &'a Content, place: &'a str, blob: &'a Blob },
}

/// A piece of a blob that stays at hand when the bundle is gone: in the program, in memory, or in the bundle's file.
#[derive(Debug)]
pub struct BlobSlice(Slice);

#[derive(Debug)]
enum Slice {
    Static(&'static [u8]),
    Memory(Vec<u8>),
    File { content: Content, place: String, blob: Blob, range: Range<usize>, again: OnceLock<Vec<u8>> },
}

impl Bundle {
    /// Gives `work` a blob to be read in pieces. If the file is touched meanwhile, once more: whole, and held against its digest.
    ///
    /// # Errors
    /// As [`blob`](Bundle::blob), and those of `work`.
    pub fn read_blob<R, E: From<Error>>(&self, name: &str, work: impl Fn(&BlobReader<'_>) -> Result<R, E>) -> Result<R, E> {
        let blob = self.find(name)?;
        match &self.content {
            Content::Memory(Cow::Borrowed(bytes)) => {
                return work(&BlobReader(Reader::Static(&bytes[blob.offset as usize..][..blob.bytes as usize])));
            }
            content @ Content::File { .. } if !content.may_have_changed() => {
                let done = work(&BlobReader(Reader::File { content, place: &self.place, blob }));
                if !content.may_have_changed() {
                    return done;
                }
            }
            _ => {}
        }
        work(&BlobReader(Reader::Memory(self.blob(name)?)))
    }
}

impl<'a> From<Cow<'a, [u8]>> for BlobReader<'a> {
    fn from(bytes: Cow<'a, [u8]>) -> Self {
        Self(Reader::Memory(bytes))
    }
}

impl From<Vec<u8>> for BlobSlice {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Slice::Memory(bytes))
    }
}

impl BlobReader<'_> {
    /// A blob that the program carries.
    pub const fn carried(bytes: &'static [u8]) -> BlobReader<'static> {
        BlobReader(Reader::Static(bytes))
    }

    /// Bytes of the blob.
    pub fn size_bytes(&self) -> usize {
        match &self.0 {
            Reader::Static(bytes) => bytes.len(),
            Reader::Memory(bytes) => bytes.len(),
            Reader::File { blob, .. } => blob.bytes as usize,
        }
    }

    /// The blob, if it is in memory.
    pub fn memory(&self) -> Option<&[u8]> {
        match &self.0 {
            Reader::Static(bytes) => Some(bytes),
            Reader::Memory(bytes) => Some(bytes),
            Reader::File { .. } => None,
        }
    }

    /// Bytes of the blob, read into `buffer` if they are not in memory.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read, [`Error::Bundle`] if it has become shorter.
    pub fn read<'b>(&'b self, range: Range<usize>, buffer: &'b mut Vec<u8>) -> Result<&'b [u8]> {
        match &self.0 {
            Reader::Static(bytes) => Ok(&bytes[range]),
            Reader::Memory(bytes) => Ok(&bytes[range]),
            Reader::File { content, blob, .. } => content.piece(in_file(blob, &range), buffer),
        }
    }

    /// Keeps a piece.
    pub fn keep(&self, range: Range<usize>) -> BlobSlice {
        match &self.0 {
            Reader::Static(bytes) => BlobSlice(Slice::Static(&bytes[range])),
            Reader::Memory(bytes) => BlobSlice(Slice::Memory(bytes[range].to_vec())),
            Reader::File { content, place, blob } => BlobSlice(Slice::File {
                content: Content::clone(content),
                place: (*place).into(),
                blob: Blob::clone(blob),
                range,
                again: OnceLock::new(),
            }),
        }
    }
}

impl BlobSlice {
    /// Bytes of the piece. A file that was touched since the bundle was opened is read once more, held against the blob's digest, and the
    /// piece stays in memory from then on.
    ///
    /// # Errors
    /// As [`Bundle::blob`].
    pub fn read<'b>(&'b self, range: Range<usize>, buffer: &'b mut Vec<u8>) -> Result<&'b [u8]> {
        match &self.0 {
            Slice::Static(bytes) => Ok(&bytes[range]),
            Slice::Memory(bytes) => Ok(&bytes[range]),
            Slice::File { content, place, blob, range: piece, again } => {
                if again.get().is_none() {
                    content.piece(in_file(blob, &(piece.start + range.start..piece.start + range.end)), buffer)?;
                    if !content.may_have_changed() {
                        return Ok(buffer);
                    }
                    let whole = content.read(in_file(blob, &(0..blob.bytes as usize)))?;
                    check_digest(place, blob, hex(&Sha256::digest(&whole)))?;
                    again.get_or_init(|| whole[piece.clone()].to_vec());
                }
                Ok(again.get().map_or(&[], |piece| &piece[range]))
            }
        }
    }
}

/// Where a blob's range is in the file.
fn in_file(blob: &Blob, range: &Range<usize>) -> Range<u64> {
    blob.offset + range.start as u64..blob.offset + range.end as u64
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::path::Path;
    use std::time::Duration;

    use super::*;

    /// A settled file of 100 bytes before a blob of 1000 that count up, as [`BlobReader::File`] has it.
    fn with_file(work: impl Fn(&Path, &BlobReader<'_>)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, file()).unwrap();
        std::thread::sleep(Duration::from_millis(2100));
        let content = Content::open(&path).unwrap();
        let sha256 = hex(&Sha256::digest(&file()[100..]));
        let blob = Blob { name: "counted".into(), offset: 100, bytes: 1000, sha256 };
        work(&path, &BlobReader(Reader::File { content: &content, place: "here", blob: &blob }));
    }

    fn file() -> Vec<u8> {
        [vec![255; 100], (0..1000).map(|n| (n % 251) as u8).collect()].concat()
    }

    #[test]
    fn a_piece_of_a_file_that_is_touched_is_held_against_its_digest_and_kept() {
        with_file(|path, part| {
            let [piece, late] = [part.keep(300..900), part.keep(300..900)];
            let read = |piece: &BlobSlice| piece.read(10..20, &mut Vec::new()).map(<[u8]>::to_vec).map_err(|e| e.to_string());
            let expected = Ok(file()[410..420].to_vec());
            assert_eq!((part.size_bytes(), part.read(310..320, &mut Vec::new()).unwrap()), (1000, &file()[410..420]));
            assert_eq!(read(&piece), expected);
            std::fs::write(path, file()).unwrap();
            assert_eq!(read(&piece), expected);
            let mut changed = file();
            changed[1099] ^= 1;
            std::fs::write(path, changed).unwrap();
            assert_eq!(read(&piece), expected);
            let error = read(&late).unwrap_err();
            assert!(error.contains("bundle here: blob \"counted\": expected SHA-256"), "{error}");
        });
    }

    #[test]
    fn a_file_that_is_touched_while_it_is_read_is_read_again_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mini.esb");
        let manifest = Bundle::built_in().unwrap().manifest().clone();
        let name = manifest.image.blob.clone();
        let names: Vec<String> = manifest.blobs.iter().map(|blob| blob.name.clone()).collect();
        let blobs: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), name.as_bytes())).collect();
        crate::write(&path, manifest, &blobs).unwrap();
        std::thread::sleep(Duration::from_millis(2100));
        let bundle = Bundle::open(&path).unwrap();
        let times = Cell::new(0);
        let read = |touch: bool| {
            bundle.read_blob(&name, |part| {
                times.set(times.get() + 1);
                if touch && part.memory().is_none() {
                    std::fs::OpenOptions::new().append(true).open(&path).unwrap().set_modified(std::time::SystemTime::now()).unwrap();
                }
                Ok::<_, Error>((part.memory().is_some(), part.read(0..part.size_bytes(), &mut Vec::new())?.to_vec()))
            })
        };
        assert_eq!((read(false).unwrap(), times.get()), ((false, name.clone().into_bytes()), 1));
        assert_eq!((read(true).unwrap(), times.get()), ((true, name.clone().into_bytes()), 3));
        assert!(bundle.read_blob("other", |_| Ok::<_, Error>(())).is_err());
    }
}
