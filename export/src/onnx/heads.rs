//! Dense heads: what makes patch tokens embeddings. `docs/model-folder.md` has their formulas; the trainer's `heads.py` is their twin.

use super::block::{block, rest_of_block};
use super::graph::{Attr, Graph, Value};
use super::grid::{Grid, LONGEST};
use super::rotary::turned;
use crate::checkpoint::Model;
use crate::config::{Activation, Global, Similarity};
use crate::weights::Tensor;

/// Epsilon of the decoder's norms, which no configuration names.
const DECODER_EPS: f32 = 1e-5;
/// Maps `[1, 1 + patches, width]`, normalised each, side by side through an MLP.
pub(super) fn fusion(graph: &mut Graph, model: &Model, maps: Vec<Value>) -> (Value, Value) {
    let tower = &model.config.image;
    // The class token goes through the head only where it is asked for.
    let with_class = tower.global == Global::Class;
    let normed: Vec<Value> = maps
        .iter()
        .enumerate()
        .map(|(i, map)| {
            let map = if with_class {
                map.clone()
            } else {
                graph.slice(&format!("image.head.taps.{i}"), map, 1, tower.prefix() as i64, i64::MAX)
            };
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
            let patches = graph.slice("image.head.patches", &embedded, 1, tower.prefix() as i64, i64::MAX);
            let class = graph.slice("image.head.class", &embedded, 1, 0, 1);
            (patches, graph.reshape("image.head.global", &class, &[1, model.config.embedding_dim as i64]))
        }
        other => unreachable!("a configuration with the fusion head has no {other:?}"),
    }
}

/// `projection(norm(x))`, with the weights of the head or, for the whole picture, of the tower.
fn projected(graph: &mut Graph, model: &Model, name: &str, norm: &str, projection: &str, x: &Value) -> Value {
    let normed = graph.norm_as(norm, &format!("{name}.norm"), x, model.config.image.norm_eps);
    project_if_any(graph, model, projection, &format!("{name}.projection"), &normed)
}

/// A projection without which the tower's width is that of the words' space.
fn project_if_any(graph: &mut Graph, model: &Model, weights: &str, name: &str, x: &Value) -> Value {
    let has = |kind: &str| model.weights.contains_key(&format!("{weights}.{kind}"));
    match (has("weight"), has("bias")) {
        (false, _) => x.clone(),
        (true, false) => graph.project_as(weights, name, x),
        (true, true) => graph.linear_as(weights, name, x),
    }
}

fn last_block(model: &Model) -> String {
    format!("image.blocks.{}", model.config.image.layers - 1)
}

/// `projection(norm(proj(v(norm1(x)))))` of the last block.
pub(super) fn maskclip(graph: &mut Graph, model: &Model, stream: &Value) -> Value {
    let (tower, name) = (&model.config.image, last_block(model));
    let normed = graph.norm(&format!("{name}.norm1"), stream, tower.norm_eps);
    let value = graph.qkv_part(&name, 2, tower.heads, &normed); // [1, 1 + patches, width]
    let patch_values = graph.slice("image.head.values", &value, 1, tower.prefix() as i64, i64::MAX);
    let patches = graph.attention_out(&format!("{name}.attn"), &format!("{name}.attn.proj"), &patch_values);
    projected(graph, model, "image.head", "image.norm", "image.head.projection", &patches)
}

/// A pooling attention with a learned query, `normed` being all tokens: for each patch its value through what follows the attention, and for
/// the picture what the query sees of them.
pub(super) fn pooled(graph: &mut Graph, model: &Model, normed: &Value, heads: usize) -> (Value, Value) {
    let (tower, name) = (&model.config.image, "image.head.pool");
    let [key, value] = [1, 2].map(|part| graph.qkv_part(name, part, heads, normed));
    let probe = graph.tensor("image.head.pool.probe");
    let probe = graph.floats("image.head.pool.probe", &[1, 1, tower.width], &probe.data);
    let query = graph.qkv_part(name, 0, heads, &probe);
    let seen = graph.attention("image.head.pool.seen", [&query, &key, &value], None, heads, tower.width);
    let patches =
        if tower.prefix() > 0 { graph.slice("image.head.pool.patches", &value, 1, tower.prefix() as i64, i64::MAX) } else { value };
    let mut rest = |name: &str, x: &Value| {
        let sum = graph.linear_as("image.head.pool.attn.proj", &format!("{name}.out"), x);
        let normed = graph.norm_as("image.head.pool.norm", &format!("{name}.norm"), &sum, tower.norm_eps);
        let hidden = graph.mlp_as("image.head.pool.mlp", &format!("{name}.mlp"), tower.activation, &normed);
        let sum = graph.add(&format!("{name}.sum"), &sum, &hidden);
        project_if_any(graph, model, "image.head.projection", &format!("{name}.projection"), &sum)
    };
    let global = rest("image.global", &seen); // [1, 1, embedding_dim]
    let patches = rest("image.patches", &patches);
    (patches, graph.reshape("image.global.flat", &global, &[1, model.config.embedding_dim as i64]))
}

/// The last block of the patches with another similarity; `kept` says whether residual and MLP stay.
pub(super) fn attention(
    graph: &mut Graph,
    model: &Model,
    stream: &Value,
    similarity: Similarity,
    neighbour: Option<(f32, Grid)>,
    (residual, mlp): (bool, bool),
) -> Value {
    let (tower, name) = (&model.config.image, last_block(model));
    let normed = graph.norm(&format!("{name}.norm1"), stream, tower.norm_eps);
    let (query, key) = match similarity {
        Similarity::QueryKey => {
            let [query, key] = [0, 1].map(|part| graph.qkv_part(&name, part, tower.heads, &normed));
            (turned(graph, model, &query), turned(graph, model, &key))
        }
        Similarity::QueryQuery => self_similar(graph, model, &name, 0, &normed),
        Similarity::KeyKey => self_similar(graph, model, &name, 1, &normed),
    };
    let query = graph.slice("image.head.query", &query, 1, tower.prefix() as i64, i64::MAX); // the class token asks elsewhere
    let value = graph.qkv_part(&name, 2, tower.heads, &normed);
    let near = neighbour.map(|(deviation, grid)| neighbour_logits(graph, &grid, deviation, tower.prefix()));
    let mixed = graph.attention("image.head.attn", [&query, &key, &value], near.as_ref(), tower.heads, tower.width);
    let mut patches = graph.attention_out(&format!("{name}.attn"), "image.head.attn.out", &mixed);
    if residual {
        let entered = graph.slice("image.head.stream", stream, 1, tower.prefix() as i64, i64::MAX);
        patches = graph.add("image.head.attn.sum", &entered, &patches);
    }
    if mlp {
        let normed = graph.norm_as(&format!("{name}.norm2"), "image.head.norm2", &patches, tower.norm_eps);
        let hidden = graph.mlp_as(&format!("{name}.mlp"), "image.head.mlp", tower.activation, &normed);
        patches = graph.add("image.head.mlp.sum", &patches, &hidden);
    }
    projected(graph, model, "image.head", "image.norm", "image.head.projection", &patches)
}

/// One part of the rows of `qkv` as query and as key. The query alone takes the softmax's 1/√d along.
fn self_similar(graph: &mut Graph, model: &Model, block: &str, part: usize, normed: &Value) -> (Value, Value) {
    let tower = &model.config.image;
    let found = graph.qkv_part(block, part, tower.heads, normed);
    let found = turned(graph, model, &found);
    let root = ((tower.width / tower.heads) as f32).sqrt();
    // The writer has put 1/√d into the query's weights already.
    let factor = graph.scalar(if part == 0 { root } else { root.recip() });
    let other = graph.op("image.head.similar", "Mul", &[&found, &factor], vec![]);
    if part == 0 { (found, other) } else { (other, found) }
}

/// `exp(-d²/2σ²)` of every pair of patches, zero for the tokens before them: `[patches, prefix + patches]`.
fn neighbour_logits(graph: &mut Graph, grid: &Grid, deviation: f32, prefix: usize) -> Value {
    let steps: Vec<f32> = (0..LONGEST).map(|n| n as f32).collect();
    let steps = graph.floats("image.head.steps", &[LONGEST], &steps);
    let (zero, one) = (graph.ints(&[0]), graph.ints(&[1]));
    let factor = graph.scalar(-1.0 / (2.0 * deviation * deviation));
    // The Gaussian is the product of one along the rows and one along the columns.
    let mut line = |side: &str, length: &Value, axes: &[i64]| {
        let name = |part: &str| format!("image.head.near.{side}.{part}");
        let at = graph.op(&name("at"), "Slice", &[&steps, &zero, length, &zero], vec![]);
        let (down, across) =
            (graph.op(&name("down"), "Unsqueeze", &[&at, &one], vec![]), graph.op(&name("across"), "Unsqueeze", &[&at, &zero], vec![]));
        let apart = graph.op(&name("apart"), "Sub", &[&down, &across], vec![]);
        let square = graph.op(&name("square"), "Mul", &[&apart, &apart], vec![]);
        let power = graph.op(&name("power"), "Mul", &[&square, &factor], vec![]);
        let near = graph.op(&name("exp"), "Exp", &[&power], vec![]);
        let axes = graph.ints(axes);
        graph.op(&name("axes"), "Unsqueeze", &[&near, &axes], vec![])
    };
    let rows = line("rows", &grid.rows, &[1, 3]); // [rows, 1, rows, 1]
    let cols = line("cols", &grid.cols, &[0, 2]); // [1, cols, 1, cols]
    let near = graph.op("image.head.near", "Mul", &[&rows, &cols], vec![]); // [rows, cols, rows, cols]
    let patches = graph.op("image.head.near.patches", "Mul", &[&grid.rows, &grid.cols], vec![]);
    let near = graph.reshape_to("image.head.near.square", &near, &[&patches, &patches]);
    // A column of zeros for each token before the patches.
    let first = graph.slice("image.head.near.first", &near, 1, 0, 1);
    let nothing = graph.scalar(0.0);
    let class = graph.op("image.head.near.class", "Mul", &[&first, &nothing], vec![]);
    let columns: Vec<&Value> = std::iter::repeat_n(&class, prefix).chain([&near]).collect();
    graph.op("image.head.near.all", "Concat", &columns, vec![("axis", Attr::Int(1))])
}

/// A last block whose tokens attend to themselves alone, then gated convolutions on a grid that doubles; each patch takes the mean of the
/// unit vectors that it became.
pub(super) fn tcl(graph: &mut Graph, model: &Model, stream: &Value, grid: &Grid, layers: usize) -> Value {
    let tower = &model.config.image;
    let (name, width) = ("image.head.block", tower.width as i64);
    let patches = graph.slice("image.head.stream", stream, 1, tower.prefix() as i64, i64::MAX);
    let normed = graph.norm(&format!("{name}.norm1"), &patches, tower.norm_eps);
    let value = graph.qkv_part(name, 2, tower.heads, &normed);
    let after = rest_of_block(graph, name, &patches, &value, tower.norm_eps, tower.activation);

    let (mut rows, mut cols) = (grid.rows.clone(), grid.cols.clone());
    let (one, two) = (graph.ints(&[1]), graph.ints(&[2]));
    let channels = graph.ints(&[width]);
    let mut map = graph.reshape_to("image.head.map", &after, &[&one, &rows, &cols, &channels]); // [1, rows, cols, width]
    for layer in 0..layers {
        let name = |part: &str| format!("image.head.layers.{layer}.{part}");
        // Each cell four times over.
        let axes = graph.ints(&[2, 4]);
        let apart = graph.op(&name("apart"), "Unsqueeze", &[&map, &axes], vec![]); // [1, rows, 1, cols, 1, width]
        let times = graph.ints(&[1, 1, 2, 1, 2, 1]);
        let doubled = graph.op(&name("doubled"), "Tile", &[&apart, &times], vec![]);
        rows = graph.op(&name("rows"), "Mul", &[&rows, &two], vec![]);
        cols = graph.op(&name("cols"), "Mul", &[&cols, &two], vec![]);
        map = graph.reshape_to(&name("map"), &doubled, &[&one, &rows, &cols, &channels]);
        for n in 2 * layer..2 * layer + 2 {
            map = gated_conv(graph, model, &format!("image.head.convs.{n}"), &map);
        }
    }
    let normed = graph.norm("image.head.norm", &map, tower.norm_eps);
    let fine = graph.project("image.head.projection", &normed); // [1, rows · s, cols · s, embedding_dim]
    let units = units(graph, "image.head.fine", &fine);
    let units = graph.transpose("image.head.fine.channels", &units, &[0, 3, 1, 2]);
    let side = 1 << layers;
    let sides = || Attr::Ints(vec![side, side]);
    let pooled = graph.op("image.head.pooled", "AveragePool", &[&units], vec![("kernel_shape", sides()), ("strides", sides())]);
    let flat = graph.reshape("image.head.pooled.flat", &pooled, &[1, model.config.embedding_dim as i64, -1]);
    graph.transpose("image.head.patches", &flat, &[0, 2, 1])
}

/// `x + tanh(gate) · conv(gelu(norm(x)))` of a map `[1, rows, cols, width]`; the gate goes into the convolution's weights.
fn gated_conv(graph: &mut Graph, model: &Model, name: &str, x: &Value) -> Value {
    let normed = graph.norm(&format!("{name}.norm"), x, DECODER_EPS);
    let bent = graph.activation(&format!("{name}.act"), Activation::Gelu, &normed);
    let channels = graph.transpose(&format!("{name}.channels"), &bent, &[0, 3, 1, 2]);
    let gate = model.weights[&format!("{name}.gate")].data[0].tanh();
    let gated = |part: &str| {
        let tensor = &model.weights[&format!("{name}.conv.{part}")];
        Tensor::new(tensor.shape.clone(), tensor.data.iter().map(|x| gate * x).collect())
    };
    let convolved = graph.convolution(&format!("{name}.conv"), &gated("weight"), &gated("bias"), &channels);
    let convolved = graph.transpose(&format!("{name}.cells"), &convolved, &[0, 2, 3, 1]);
    graph.add(&format!("{name}.sum"), x, &convolved)
}

/// The picture's own embedding, from the stream that enters the last block or from the patches. The last block's attention and MLP run for
/// the class token alone, if at all.
pub(super) fn global(graph: &mut Graph, model: &Model, stream: &Value, patches: &Value) -> Value {
    let (tower, name) = (&model.config.image, last_block(model));
    match tower.global {
        Global::Mean => mean_of_units(graph, patches),
        Global::PoolNorm | Global::NormPool => {
            let stream = block(graph, model, tower.layers - 1, stream).0;
            let patches = graph.slice("image.pool.patches", &stream, 1, tower.prefix() as i64, i64::MAX);
            let mean = |graph: &mut Graph, x: &Value| {
                graph.op("image.pool.mean", "ReduceMean", &[x], vec![("axes", Attr::Ints(vec![1])), ("keepdims", Attr::Int(0))])
            };
            let pooled = if tower.global == Global::PoolNorm {
                let pooled = mean(graph, &patches);
                graph.norm_as("image.norm", "image.pool.norm", &pooled, tower.norm_eps)
            } else {
                let normed = graph.norm_as("image.norm", "image.pool.norm", &patches, tower.norm_eps);
                mean(graph, &normed)
            };
            project_if_any(graph, model, whole_projection(model), "image.pool.projection", &pooled)
        }
        Global::Attention => unreachable!("a configuration without the pooled head has none"),
        Global::Class => {
            let normed = graph.norm(&format!("{name}.norm1"), stream, tower.norm_eps);
            let class = graph.slice("image.class.normed", &normed, 1, 0, 1);
            let query = graph.qkv_part_as(&name, "image.class", 0, tower.heads, &class);
            let [key, value] = [1, 2].map(|part| graph.qkv_part(&name, part, tower.heads, &normed));
            let key = turned(graph, model, &key);
            let mixed = graph.attention("image.class.attn", [&query, &key, &value], None, tower.heads, tower.width);
            let class = graph.slice("image.class.stream", stream, 1, 0, 1);
            let class = rest_of_block(graph, &name, &class, &mixed, tower.norm_eps, tower.activation);
            let class = projected(graph, model, "image.class", "image.norm", whole_projection(model), &class);
            graph.reshape("image.class.global", &class, &[1, model.config.embedding_dim as i64])
        }
    }
}

/// The projection of the whole picture, where the dense head has one of its own.
fn whole_projection(model: &Model) -> &'static str {
    if model.weights.contains_key("image.projection.weight") { "image.projection" } else { "image.head.projection" }
}

/// `x / |x|` along the last axis.
fn units(graph: &mut Graph, name: &str, x: &Value) -> Value {
    let tiny = graph.scalar(1e-12);
    let norm = graph.op(&format!("{name}.norm"), "ReduceL2", &[x], vec![("axes", Attr::Ints(vec![-1])), ("keepdims", Attr::Int(1))]);
    let norm = graph.op(&format!("{name}.norm.floor"), "Max", &[&norm, &tiny], vec![]);
    graph.op(&format!("{name}.units"), "Div", &[x, &norm], vec![])
}

/// Mean over the patches of `x / |x|`.
fn mean_of_units(graph: &mut Graph, patches: &Value) -> Value {
    let units = units(graph, "image.global", patches);
    graph.op("image.global.mean", "ReduceMean", &[&units], vec![("axes", Attr::Ints(vec![1])), ("keepdims", Attr::Int(0))])
}
