//! The image tower: pre-norm vision transformer, then the head that makes patch tokens embeddings.

use super::graph::{Attr, Graph, Storage, Value};
use super::proto::{self, Dim};
use crate::Result;
use crate::checkpoint::Model;
use crate::config::{Activation, Global, Head, Tap};

pub(super) fn write(model: &Model, storage: Storage) -> Result<Vec<u8>> {
    let tower = &model.config.image;
    let mut graph = Graph::new("image", model, storage);
    let dim = |n: usize| Dim::Value(n as i64);
    let symbol = |s: &str| Dim::Param(s.into());
    let pixels = graph.input("pixels", proto::FLOAT, &[dim(1), dim(3), symbol("height"), symbol("width")]);
    let positions = graph.input("positions", proto::FLOAT, &[dim(1), symbol("tokens"), dim(tower.width)]);

    let patches = graph.patches("image.patch", &pixels, tower.patch_bias); // [1, width, rows, cols]
    let patches = graph.reshape("image.patch.flat", &patches, &[1, tower.width as i64, -1]);
    let patches = graph.transpose("image.patch.tokens", &patches, &[0, 2, 1]); // [1, patches, width]
    let class = graph.tensor("image.class_token");
    let class = graph.floats("image.class_token", &[1, 1, tower.width], &class.data);
    let tokens = graph.op("image.tokens", "Concat", &[&class, &patches], vec![("axis", Attr::Int(1))]);
    let mut stream = graph.add("image.embedded", &tokens, &positions);
    if tower.pre_norm {
        stream = graph.norm("image.ln_pre", &stream, tower.norm_eps);
    }

    let (patches, global) = match &tower.head {
        Head::Fusion { taps, .. } => {
            let mut maps: Vec<Option<Value>> = vec![None; taps.len()];
            for n in 0..tower.layers {
                let (next, value) = block(&mut graph, model, n, &stream);
                stream = next;
                for (map, tap) in maps.iter_mut().zip(taps) {
                    match tap {
                        Tap::Block(of) if *of == n + 1 => *map = Some(stream.clone()),
                        Tap::Value if n + 1 == tower.layers => {
                            *map = Some(graph.linear(&format!("image.blocks.{n}.attn.proj"), &value));
                        }
                        _ => {}
                    }
                }
            }
            if taps.contains(&Tap::Final) {
                let last = graph.norm("image.norm", &stream, tower.norm_eps);
                maps.iter_mut().filter(|map| map.is_none()).for_each(|map| *map = Some(last.clone()));
            }
            fusion(&mut graph, model, maps.into_iter().flatten().collect())
        }
        Head::Maskclip {} => {
            for n in 0..tower.layers - 1 {
                stream = block(&mut graph, model, n, &stream).0;
            }
            maskclip(&mut graph, model, &stream)
        }
    };
    graph.output("patches", &patches, &[dim(1), symbol("patches"), dim(model.config.embedding_dim)]);
    graph.output("global", &global, &[dim(1), dim(model.config.embedding_dim)]);
    Ok(graph.finish())
}

/// One pre-norm block: the stream after it, and its values `[1, tokens, width]` before attention mixes them.
fn block(graph: &mut Graph, model: &Model, n: usize, stream: &Value) -> (Value, Value) {
    let tower = &model.config.image;
    let name = format!("image.blocks.{n}");
    let normed = graph.norm(&format!("{name}.norm1"), stream, tower.norm_eps);
    let [query, key, value] = [0, 1, 2].map(|part| graph.qkv_part(&name, part, tower.heads, &normed));
    let mixed = graph.attention(&format!("{name}.attn"), [&query, &key, &value], None, tower.heads, tower.width);
    let after = rest_of_block(graph, &name, stream, &mixed, tower.norm_eps, tower.activation);
    (after, value)
}

/// Output projection, residual sum, MLP, residual sum.
fn rest_of_block(graph: &mut Graph, name: &str, stream: &Value, mixed: &Value, eps: f32, activation: Activation) -> Value {
    let projected = graph.linear_as(&format!("{name}.attn.proj"), &format!("{name}.attn.out"), mixed);
    let stream = graph.add(&format!("{name}.attn.sum"), stream, &projected);
    let normed = graph.norm(&format!("{name}.norm2"), &stream, eps);
    let hidden = graph.mlp(&format!("{name}.mlp"), activation, &normed);
    graph.add(&format!("{name}.mlp.sum"), &stream, &hidden)
}

/// Maps `[1, 1 + patches, width]`, normalised each, side by side through an MLP.
fn fusion(graph: &mut Graph, model: &Model, maps: Vec<Value>) -> (Value, Value) {
    let tower = &model.config.image;
    // The class token goes through the head only where it is asked for.
    let with_class = tower.global == Global::Class;
    let normed: Vec<Value> = maps
        .iter()
        .enumerate()
        .map(|(i, map)| {
            let map = if with_class { map.clone() } else { graph.slice(&format!("image.head.taps.{i}"), map, 1, 1, i64::MAX) };
            graph.norm(&format!("image.head.norms.{i}"), &map, tower.norm_eps)
        })
        .collect();
    let joined = graph.op("image.head.joined", "Concat", &normed.iter().collect::<Vec<_>>(), vec![("axis", Attr::Int(-1))]);
    let hidden = graph.linear("image.head.fc1", &joined);
    let hidden = graph.activation("image.head.act", Activation::Gelu, &hidden);
    let embedded = graph.linear("image.head.fc2", &hidden);
    match tower.global {
        Global::Mean => {
            let global = mean_of_units(graph, &embedded);
            (embedded, global)
        }
        Global::Class => {
            let patches = graph.slice("image.head.patches", &embedded, 1, 1, i64::MAX);
            let class = graph.slice("image.head.class", &embedded, 1, 0, 1);
            (patches, graph.reshape("image.head.global", &class, &[1, model.config.embedding_dim as i64]))
        }
    }
}

/// `projection(norm(proj(v(norm1(x)))))` of the last block. Its attention and MLP run for the class token alone, if at all.
fn maskclip(graph: &mut Graph, model: &Model, stream: &Value) -> (Value, Value) {
    let tower = &model.config.image;
    let name = format!("image.blocks.{}", tower.layers - 1);
    let normed = graph.norm(&format!("{name}.norm1"), stream, tower.norm_eps);
    let value = graph.qkv_part(&name, 2, tower.heads, &normed); // [1, 1 + patches, width]
    let patch_values = graph.slice("image.head.values", &value, 1, 1, i64::MAX);
    let patches = graph.linear(&format!("{name}.attn.proj"), &patch_values);
    let patches = graph.norm("image.norm", &patches, tower.norm_eps);
    let patches = graph.project("image.head.projection", &patches);
    let global = match tower.global {
        Global::Mean => mean_of_units(graph, &patches),
        Global::Class => {
            let class = graph.slice("image.class.normed", &normed, 1, 0, 1);
            let query = graph.qkv_part(&name, 0, tower.heads, &class);
            let key = graph.qkv_part(&name, 1, tower.heads, &normed);
            let mixed = graph.attention(&format!("{name}.attn"), [&query, &key, &value], None, tower.heads, tower.width);
            let class = graph.slice("image.class.stream", stream, 1, 0, 1);
            let class = rest_of_block(graph, &name, &class, &mixed, tower.norm_eps, tower.activation);
            let class = graph.norm_as("image.norm", "image.class.norm", &class, tower.norm_eps);
            let class = graph.project_as("image.head.projection", "image.class.projection", &class);
            graph.reshape("image.class.global", &class, &[1, model.config.embedding_dim as i64])
        }
    };
    (patches, global)
}

/// Mean over the patches of `x / |x|`.
fn mean_of_units(graph: &mut Graph, patches: &Value) -> Value {
    let tiny = graph.scalar(1e-12);
    let norm = graph.op("image.global.norm", "ReduceL2", &[patches], vec![("axes", Attr::Ints(vec![-1])), ("keepdims", Attr::Int(1))]);
    let norm = graph.op("image.global.norm.floor", "Max", &[&norm, &tiny], vec![]);
    let units = graph.op("image.global.units", "Div", &[patches, &norm], vec![]);
    graph.op("image.global.mean", "ReduceMean", &[&units], vec![("axes", Attr::Ints(vec![1])), ("keepdims", Attr::Int(0))])
}
