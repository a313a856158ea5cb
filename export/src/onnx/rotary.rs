//! Rotary position embeddings of two axes. The pairs that are turned together lie in the two halves of a head, which the rows of its weights
//! are sorted for, so that a turn is four products and no shuffle.

use super::graph::{Attr, Graph, Value};
use super::grid::{Grid, LONGEST};
use crate::checkpoint::Model;

const COS: &str = "image.rotary.cos";
const SIN: &str = "image.rotary.sin";

/// Puts cosine and sine of every token's angles `[1, tokens, 1, d / 2]` into the graph, if the tower turns its queries and keys.
pub(super) fn angles(graph: &mut Graph, model: &Model, image: &Value) {
    let tower = &model.config.image;
    let Some(rotary) = tower.rotary else { return };
    let grid = Grid::of(graph, image);
    let bands = tower.width / tower.heads / 4;
    let band = |k: usize| rotary.temperature.powf(-(k as f32) / bands as f32);
    let steps: Vec<f32> = (0..LONGEST).map(|n| n as f32 + rotary.offset).collect();
    let steps = graph.floats("image.rotary.steps", &[LONGEST], &steps);
    let values: Vec<f32> = (0..bands).map(band).collect();
    let values = graph.floats("image.rotary.bands", &[1, 1, bands], &values);
    let zero = graph.ints(&[0]);
    let mut line = |side: &str, length: &Value, trained: usize, axes: &[i64]| {
        let name = |part: &str| format!("image.rotary.{side}.{part}");
        let at = graph.op(&name("at"), "Slice", &[&steps, &zero, length, &zero], vec![]);
        let count = graph.op(&name("count"), "Cast", &[length], vec![("to", Attr::Int(super::proto::FLOAT.into()))]);
        let share = graph.op(&name("share"), "Div", &[&at, &count], vec![]);
        let trained = graph.scalar(trained as f32);
        let place = graph.op(&name("place"), "Mul", &[&share, &trained], vec![]);
        let axes = graph.ints(axes);
        let place = graph.op(&name("axes"), "Unsqueeze", &[&place, &axes], vec![]);
        graph.op(&name("angles"), "Mul", &[&place, &values], vec![])
    };
    let rows = line("rows", &grid.rows, rotary.grid[0], &[1, 2]); // [rows, 1, bands]
    let cols = line("cols", &grid.cols, rotary.grid[1], &[0, 2]); // [1, cols, bands]
    // Each spread over the other's axis.
    let nothing = graph.scalar(0.0);
    let mut spread = |name: &str, of: &Value, over: &Value| {
        let zeros = graph.op(&format!("image.rotary.{name}.zeros"), "Mul", &[over, &nothing], vec![]);
        graph.add(&format!("image.rotary.{name}.spread"), of, &zeros)
    };
    let (rows, cols) = (spread("rows", &rows, &cols), spread("cols", &cols, &rows)); // [rows, cols, bands]
    let halves = if rotary.columns_first { [&cols, &rows] } else { [&rows, &cols] };
    let angles = graph.op("image.rotary.grid", "Concat", &halves, vec![("axis", Attr::Int(-1))]);
    let mut angles = graph.reshape("image.rotary.patches", &angles, &[1, -1, 1, 2 * bands as i64]);
    let prefix = tower.prefix();
    if prefix > 0 {
        let still = graph.floats("image.rotary.prefix", &[1, prefix, 1, 2 * bands], &vec![0.0; prefix * 2 * bands]);
        angles = graph.op("image.rotary.tokens", "Concat", &[&still, &angles], vec![("axis", Attr::Int(1))]);
    }
    graph.op(COS, "Cos", &[&angles], vec![]);
    graph.op(SIN, "Sin", &[&angles], vec![]);
}

/// Queries or keys `[1, tokens, width]` of a block, turned if the tower turns them.
pub(super) fn turned(graph: &mut Graph, model: &Model, x: &Value) -> Value {
    let tower = &model.config.image;
    if tower.rotary.is_none() {
        return x.clone();
    }
    let done = format!("{x}.turned");
    if graph.has_node(&done) {
        return done;
    }
    let (width, head) = (tower.width as i64, (tower.width / tower.heads) as i64);
    let (cos, sin): (Value, Value) = (COS.into(), SIN.into());
    let name = |part: &str| format!("{x}.{part}");
    let split = graph.reshape(&name("by_head"), x, &[0, 0, tower.heads as i64, head]);
    let first = graph.slice(&name("first"), &split, 3, 0, head / 2);
    let second = graph.slice(&name("second"), &split, 3, head / 2, head);
    let mut product = |part: &str, a: &Value, b: &Value| graph.op(&name(part), "Mul", &[a, b], vec![]);
    let (a, b) = (product("first.cos", &first, &cos), product("second.sin", &second, &sin));
    let (c, d) = (product("second.cos", &second, &cos), product("first.sin", &first, &sin));
    let first = graph.op(&name("first.turned"), "Sub", &[&a, &b], vec![]);
    let second = graph.add(&name("second.turned"), &c, &d);
    let joined = graph.op(&name("joined"), "Concat", &[&first, &second], vec![("axis", Attr::Int(-1))]);
    graph.reshape(&done, &joined, &[0, 0, width])
}
