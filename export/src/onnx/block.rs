//! A block of the image tower.

use super::graph::{Graph, Value};
use super::rotary::turned;
use crate::checkpoint::Model;
use crate::config::Activation;

/// One pre-norm block: the stream after it, and its values `[1, tokens, width]` before attention mixes them.
pub(super) fn block(graph: &mut Graph, model: &Model, n: usize, stream: &Value) -> (Value, Value) {
    let tower = &model.config.image;
    let name = format!("image.blocks.{n}");
    let normed = graph.norm(&format!("{name}.norm1"), stream, tower.norm_eps);
    let [query, key, value] = [0, 1, 2].map(|part| graph.qkv_part(&name, part, tower.heads, &normed));
    let [query, key] = [query, key].map(|x| turned(graph, model, &x));
    let mixed = graph.attention(&format!("{name}.attn"), [&query, &key, &value], None, tower.heads, tower.width);
    let after = rest_of_block(graph, &name, stream, &mixed, tower.norm_eps, tower.activation);
    (after, value)
}

/// Output projection, residual sum, MLP, residual sum.
pub(super) fn rest_of_block(graph: &mut Graph, name: &str, stream: &Value, mixed: &Value, eps: f32, activation: Activation) -> Value {
    let projected = graph.attention_out(&format!("{name}.attn"), &format!("{name}.attn.out"), mixed);
    let stream = graph.add(&format!("{name}.attn.sum"), stream, &projected);
    let normed = graph.norm(&format!("{name}.norm2"), &stream, eps);
    let hidden = graph.mlp(&format!("{name}.mlp"), activation, &normed);
    graph.add(&format!("{name}.mlp.sum"), &stream, &hidden)
}
