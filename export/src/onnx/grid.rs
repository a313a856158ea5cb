use super::graph::{Graph, Value};

/// Longest side of a grid, in patches.
pub(super) const LONGEST: usize = 512;

/// Rows and columns of the patches, known when the encoder runs.
pub(super) struct Grid {
    pub(super) rows: Value, // i64 [1]
    pub(super) cols: Value, // i64 [1]
}

impl Grid {
    /// Of the patch convolution's output `[1, width, rows, cols]`.
    pub(super) fn of(graph: &mut Graph, image: &Value) -> Self {
        if graph.has_node("image.grid") {
            return Self { rows: "image.grid.rows".into(), cols: "image.grid.cols".into() };
        }
        let shape = graph.op("image.grid", "Shape", &[image], vec![]);
        Self { rows: graph.slice("image.grid.rows", &shape, 0, 2, 3), cols: graph.slice("image.grid.cols", &shape, 0, 3, 4) }
    }
}
