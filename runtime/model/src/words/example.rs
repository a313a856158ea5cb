use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

use crate::{Result, UnitRows};

/// What a box of a picture shows, as the model's numbers: it can be kept, and means something to that model alone.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written")]
pub struct Example {
    /// The digest of the bundle that made it.
    pub(crate) model: String,
    /// What is in the box. `[dim]`, unit-norm
    #[serde(serialize_with = "rounded")]
    pub(crate) shows: Vec<f32>,
    /// What is beside it in the picture; nothing where the box is all of it. `[dim]`, unit-norm
    #[serde(serialize_with = "rounded")]
    pub(crate) beside: Vec<f32>,
    /// What tells the two apart. `[dim]`, unit-norm, or nothing
    #[serde(serialize_with = "rounded")]
    pub(crate) apart: Vec<f32>,
    /// Whether it shows what the word does not mean.
    pub(crate) counter: bool,
}

impl fmt::Debug for Example {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Example {{ {} numbers of {:?}, counter: {} }}", self.shows.len(), self.model, self.counter)
    }
}

/// To five places, which no score would tell from all of them.
fn rounded<S: Serializer>(row: &[f32], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(row.iter().map(|value| (f64::from(*value) * 1e5).round() / 1e5))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    model: String,
    shows: Vec<f32>,
    #[serde(default)]
    beside: Vec<f32>,
    #[serde(default)]
    apart: Vec<f32>,
    #[serde(default)]
    counter: bool,
}

impl TryFrom<Written> for Example {
    type Error = String;

    fn try_from(Written { model, shows, beside, apart, counter }: Written) -> Result<Self, String> {
        let unit = |what: &str, row: Vec<f32>| -> Result<Vec<f32>, String> {
            if row.is_empty() {
                return Ok(row);
            }
            let rows = UnitRows::normalise(what, row.len(), row).map_err(|e| e.to_string())?;
            Ok(rows.data().to_vec())
        };
        let lengths = [beside.len(), apart.len()];
        if shows.is_empty() || lengths.iter().any(|length| ![0, shows.len()].contains(length)) {
            let (shows, [beside, apart]) = (shows.len(), lengths);
            return Err(format!("example: expected as many numbers in `shows`, `beside` and `apart`, found {shows}, {beside} and {apart}"));
        }
        Ok(Self { model, shows: unit("shows", shows)?, beside: unit("beside", beside)?, apart: unit("apart", apart)?, counter })
    }
}
