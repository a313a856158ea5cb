//! The image tower: pre-norm vision transformer, then the head that makes patch tokens embeddings.

use super::block::block;
use super::graph::{Attr, Graph, Layers, Value};
use super::grid::Grid;
use super::heads;
use super::proto::{self, Dim};
use super::rotary::angles;
use crate::Result;
use crate::checkpoint::Model;
use crate::config::{Activation, Head, Tap};

pub(super) fn write(model: &Model, layers: &Layers) -> Result<(Vec<u8>, Vec<String>)> {
    let tower = &model.config.image;
    let mut graph = Graph::new("image", model, layers);
    let dim = |n: usize| Dim::Value(n as i64);
    let symbol = |s: &str| Dim::Param(s.into());
    let pixels = graph.input("pixels", proto::FLOAT, &[dim(1), dim(3), symbol("height"), symbol("width")]);
    let positions = graph.input("positions", proto::FLOAT, &[dim(1), symbol("tokens"), dim(tower.width)]);

    let mut seen = pixels;
    for n in 0..tower.stem.len() {
        let name = format!("image.stem.{n}");
        let convolved = graph.patches(&name, &seen, true);
        seen = graph.activation(&format!("{name}.act"), Activation::Gelu, &convolved);
    }
    let image = graph.patches("image.patch", &seen, tower.patch_bias); // [1, width, rows, cols]
    let patches = graph.reshape("image.patch.flat", &image, &[1, tower.width as i64, -1]);
    let patches = graph.transpose("image.patch.tokens", &patches, &[0, 2, 1]); // [1, patches, width]
    let (tokens, positions) = if tower.class_token {
        let class = graph.tensor("image.class_token");
        let class = graph.floats("image.class_token", &[1, 1, tower.width], &class.data);
        (graph.op("image.tokens", "Concat", &[&class, &patches], vec![("axis", Attr::Int(1))]), positions)
    } else {
        (patches, graph.slice("image.positions.patches", &positions, 1, 1, i64::MAX))
    };
    let mut stream = graph.add("image.embedded", &tokens, &positions);
    if tower.registers > 0 {
        let registers = graph.tensor("image.registers");
        let registers = graph.floats("image.registers", &[1, tower.registers, tower.width], &registers.data);
        let class = graph.slice("image.embedded.class", &stream, 1, 0, 1);
        let patches = graph.slice("image.embedded.patches", &stream, 1, 1, i64::MAX);
        stream = graph.op("image.registered", "Concat", &[&class, &registers, &patches], vec![("axis", Attr::Int(1))]);
    }
    angles(&mut graph, model, &image);
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
                            let name = format!("image.blocks.{n}.attn");
                            *map = Some(graph.attention_out(&name, &format!("{name}.proj"), &value));
                        }
                        _ => {}
                    }
                }
            }
            if taps.contains(&Tap::Final) {
                let last = graph.norm("image.norm", &stream, tower.norm_eps);
                maps.iter_mut().filter(|map| map.is_none()).for_each(|map| *map = Some(last.clone()));
            }
            heads::fusion(&mut graph, model, maps.into_iter().flatten().collect())
        }
        Head::Pooled { heads, .. } => {
            for n in 0..tower.layers {
                stream = block(&mut graph, model, n, &stream).0;
            }
            let normed = graph.norm("image.norm", &stream, tower.norm_eps);
            heads::pooled(&mut graph, model, &normed, *heads)
        }
        last_block => {
            for n in 0..tower.layers - 1 {
                stream = block(&mut graph, model, n, &stream).0;
            }
            let patches = match last_block {
                Head::Attention { similarity, neighbour, residual, mlp } => {
                    let grid = Grid::of(&mut graph, &image);
                    heads::attention(
                        &mut graph,
                        model,
                        &stream,
                        *similarity,
                        (*neighbour > 0.0).then_some((*neighbour, grid)),
                        (*residual, *mlp),
                    )
                }
                Head::Tcl { layers } => {
                    let grid = Grid::of(&mut graph, &image);
                    heads::tcl(&mut graph, model, &stream, &grid, *layers)
                }
                _ => heads::maskclip(&mut graph, model, &stream),
            };
            let global = heads::global(&mut graph, model, &stream, &patches);
            (patches, global)
        }
    };
    graph.output("patches", &patches, &[dim(1), symbol("patches"), dim(model.config.embedding_dim)]);
    graph.output("global", &global, &[dim(1), dim(model.config.embedding_dim)]);
    Ok(graph.finish())
}
